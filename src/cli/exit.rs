//! Exit codes, the same for every command.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// 0: it did what it was asked to.
    Done,
    /// 1: it failed.
    Failed,
    /// 64: the command line or a configuration file is wrong; nothing was done. `EX_USAGE` of `sysexits.h`.
    Usage,
    /// 65: it found damage, which is still there. `EX_DATAERR` of `sysexits.h`.
    Damaged,
    /// 69: the registry, or its object store, did not answer. `EX_UNAVAILABLE` of `sysexits.h`.
    Unavailable,
    /// 75: it stopped before it changed anything, and goes on when somebody confirms. `EX_TEMPFAIL` of `sysexits.h`.
    Halted,
    /// 77: the object store refused the credentials. `EX_NOPERM` of `sysexits.h`.
    Refused,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::Damaged => 65,
            Exit::Unavailable => 69,
            Exit::Halted => 75,
            Exit::Refused => 77,
        })
    }
}

/// What a person wrote is wrong: the command line, a configuration, an object.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidUsage(pub(super) String);

/// What was looked at is damaged.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct FoundDamage(pub(super) String);

/// A brake stopped what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Halted(pub(super) String);

/// Nobody answers where the registry should be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreachable(pub(super) String);

/// The object store refuses the credentials.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct CredentialsRefused(pub(super) String);

/// The exit that an error asks for.
pub(super) fn exit_of(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<InvalidUsage>().is_some() {
        Exit::Usage
    } else if error.downcast_ref::<FoundDamage>().is_some() {
        Exit::Damaged
    } else if error.downcast_ref::<Halted>().is_some() {
        Exit::Halted
    } else if error.downcast_ref::<Unreachable>().is_some() {
        Exit::Unavailable
    } else if error.downcast_ref::<CredentialsRefused>().is_some() {
        Exit::Refused
    } else {
        Exit::Failed
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn error_below_a_context_still_decides_the_exit() {
        let wrong = Err::<(), _>(InvalidUsage("no".to_owned())).context("could not read it").unwrap_err();
        assert_eq!(exit_of(&wrong), Exit::Usage);
        let silent = Err::<(), _>(Unreachable("nobody".to_owned())).context("could not ask").unwrap_err();
        assert_eq!(exit_of(&silent), Exit::Unavailable);
        let refused = Err::<(), _>(CredentialsRefused("no".to_owned())).context("could not serve").unwrap_err();
        assert_eq!(exit_of(&refused), Exit::Refused);
        assert_eq!(exit_of(&anyhow::anyhow!("broken")), Exit::Failed);
    }
}

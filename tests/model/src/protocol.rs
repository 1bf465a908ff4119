//! What is explored: a configuration, and at most one weakened step.

use crate::{
    state::{JOINER, Keys, Lease, Phase, State},
    weakened::Mutant,
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Push {
    None,
    /// HEAD or upload of the blob, then a PUT of M under T.
    Blob,
    /// A PUT of M under T, or by digest alone, or of another manifest under T, or of an index that references M.
    Tagged,
    Untagged,
    Other,
    Index,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Delete {
    None,
    Api,
    /// A policy's decision that M goes because no tag and no index reaches it.
    Policy,
    /// The same, of a run that has read the repository once, and asks what was relied on since.
    Watched,
}

/// What the store holds at the start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Empty,
    /// The blob's bytes without a link, or with an old one.
    Bytes,
    OldBlob,
    Image,
    Untagged,
    /// M in the trash; or there and pushed again.
    Trashed,
    PushedAgain,
}

#[derive(Clone, Copy)]
pub struct Config {
    pub name: &'static str,
    pub starts: &'static [Start],
    /// What each client does, and the set of replicas that it may reach.
    pub clients: [(Push, u8); 2],
    /// The replicas on which collectors, a deleter and a restorer run.
    pub collectors: [Option<u8>; 2],
    pub epochs: u8,
    pub delete: (Delete, u8),
    pub restore: Option<u8>,
    /// The set of replicas that fill their descriptor caches.
    pub caches: u8,
    pub joins: bool,
    /// Who joins is the process of replica 1, when that has lost its lease.
    pub reborn: bool,
    /// The replica that may leave in order.
    pub leaves: Option<u8>,
    pub crashes: u8,
    pub lapses: u8,
    /// Ages run out at any moment (A2 does not hold): I2 is not checked.
    pub ages_freely: bool,
    /// The first attempt to write a PUT's link may get lost on its way, and land after its repetition.
    pub late: bool,
    /// Waiting for a freeze ends in a 503; without it, waiting for ever is a violation.
    pub timeouts: bool,
}

pub const QUIET: Config = Config {
    name: "",
    starts: &[],
    clients: [(Push::None, 0), (Push::None, 0)],
    collectors: [None, None],
    epochs: 1,
    delete: (Delete::None, 0),
    restore: None,
    caches: 0,
    joins: false,
    reborn: false,
    leaves: None,
    crashes: 0,
    lapses: 0,
    ages_freely: false,
    late: false,
    timeouts: true,
};

#[derive(Clone, Copy)]
pub struct Protocol {
    pub config: Config,
    pub mutant: Mutant,
}

impl Protocol {
    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == mutant
    }

    /// Whether waiting for a freeze ends in a 503.
    pub fn has_timeouts(&self) -> bool {
        self.config.timeouts && !self.is(Mutant::WaitsForEver)
    }

    pub fn has_policy(&self) -> bool {
        matches!(self.config.delete.0, Delete::Policy | Delete::Watched)
    }

    /// The lease check of a process on `home`, which `skipped` leaves out. It is merged into the step before it:
    /// the write that relies on it may come any time later.
    pub fn lease(&self, state: &State, home: u8, skipped: Mutant) -> bool {
        skipped != Mutant::None && self.is(skipped) || state.replicas[home as usize].lease == Lease::Valid
    }

    /// A call to a replica's control listener: who answers it, and whether the caller may pass it over as gone.
    pub fn call(&self, state: &State, caller: u8, replica: u8) -> (Option<usize>, bool) {
        let callee = &state.replicas[replica as usize];
        let gone = callee.lease >= Lease::Gone || callee.phase == Phase::Left;
        let unwaited = self.is(Mutant::EvictionNotWaitedFor) && caller != replica;
        let successor = self.is(Mutant::SuccessorAnswers) && callee.phase == Phase::Crashed;
        if successor && state.replicas[JOINER].phase == Phase::Serving {
            return (Some(JOINER), gone);
        }
        let answers = state.alive(replica) && !gone;
        (answers.then_some(replica as usize), gone || unwaited)
    }

    /// The next replica of `set` to call.
    pub fn next_callee(set: u8, from: u8) -> Option<u8> {
        (from..8).find(|replica| set & 1 << replica != 0)
    }

    /// The replicas of `set` whose guard lets `keys` enter now.
    pub fn open_doors(state: &State, set: u8, keys: Keys) -> impl Iterator<Item = usize> + '_ {
        let serving =
            move |&replica: &usize| set & 1 << replica != 0 && state.replicas[replica].phase == Phase::Serving;
        (0..state.replicas.len()).filter(serving).filter(move |&replica| state.frozen(replica) & keys == 0)
    }
}

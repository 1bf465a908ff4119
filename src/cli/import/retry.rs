//! Trying again.

use std::time::Duration;

use tokio::time::sleep;

use super::failure::Failure;

/// How often something is tried. With the waits below that is some half a minute: a registry that restarts is back.
const ATTEMPTS: u32 = 6;

/// The first wait; each one after it is twice as long, and up to half of it longer, so that many do not come at once.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait that a registry may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Does something that can be done twice, until it succeeds or another attempt is of no use.
pub(super) async fn with_retries<T, F>(attempt: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    retrying(Patience::default(), attempt).await
}

async fn retrying<T, F>(mut patience: Patience, mut attempt: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    loop {
        match attempt().await {
            Err(failure) if failure.is_passing() => patience.after(failure).await?,
            other => return other,
        }
    }
}

/// How often something is tried again before it is given up.
#[derive(Debug)]
pub(super) struct Patience {
    attempts: u32,
    wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: ATTEMPTS, wait: FIRST_WAIT }
    }
}

impl Patience {
    /// Waits until it is time for another attempt after `failure`.
    ///
    /// # Errors
    /// That failure, if it was the last attempt's.
    pub(super) async fn after(&mut self, failure: Failure) -> Result<(), Failure> {
        self.attempts = self.attempts.saturating_sub(1);
        if self.attempts == 0 {
            return Err(failure);
        }
        tracing::debug!(failure = %failure, "trying again");
        let asked = failure.retry_after().unwrap_or_default().min(LONGEST_WAIT);
        sleep(asked.max(self.wait.mul_f64(1.0 + rand::random::<f64>() / 2.0))).await;
        self.wait *= 2;
        Ok(())
    }

    /// Something came of the last attempt: what fails from here on is a new failure.
    pub(super) fn renew(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use reqwest::StatusCode;

    use super::*;

    fn answer(status: u16) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        Failure::Answer { what: "it".into(), status, said: None, retry_after: None }
    }

    fn hurried() -> Patience {
        Patience { wait: Duration::ZERO, ..Patience::default() }
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        for (status, expected) in [(503, 6), (429, 6), (404, 1), (400, 1), (401, 1), (403, 1)] {
            let attempts = Cell::new(0);
            let tried = retrying(hurried(), || {
                attempts.set(attempts.get() + 1);
                async { Err::<(), _>(answer(status)) }
            });
            assert!(tried.await.is_err());
            assert_eq!(attempts.get(), expected, "after {status}");
        }
        let attempts = Cell::new(0);
        let tried = retrying(hurried(), || {
            attempts.set(attempts.get() + 1);
            let number = attempts.get();
            async move { if number < 3 { Err(answer(502)) } else { Ok(number) } }
        });
        assert_eq!(tried.await.unwrap(), 3);
    }
}

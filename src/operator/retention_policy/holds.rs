//! What is held comes back from the trash.

use jiff::Timestamp;

use crate::api::v1alpha1::{HoldState, HoldStatus};
use crate::api::wire::{Conflict, RestoreReferenceRequest, RestoreReport};
use crate::operator::registry_client::{Error, RegistryClient};
use crate::retention::Hold;

use super::status::clip;

/// Whether a hold's time is over.
#[must_use]
pub fn is_over(hold: &Hold, now: Timestamp) -> bool {
    hold.until.is_some_and(|until| until <= now)
}

/// When the time of a hold is over next.
#[must_use]
pub fn next_end(holds: &[Hold], now: Timestamp) -> Option<Timestamp> {
    holds.iter().filter_map(|hold| hold.until).filter(|until| *until > now).min()
}

/// Restores what is held and in the trash. `registry` is an error where it cannot be talked to at all; a registry
/// that stops answering is not asked for the rest.
pub async fn restore(
    registry: Result<&RegistryClient, &Error>,
    holds: &[Hold],
    before: &[HoldStatus],
    now: Timestamp,
) -> Vec<HoldStatus> {
    let mut silent = registry.err().map(Error::in_words);
    let mut states = Vec::with_capacity(holds.len());
    for hold in holds {
        let reference = hold.reference.name_in(&hold.repository);
        let outcome = match (registry, &silent) {
            _ if is_over(hold, now) => Outcome::Over,
            (Ok(registry), None) => Outcome::Asked(registry.restore(&request(hold)).await),
            (_, words) => Outcome::NotAsked(words.clone().unwrap_or_default()),
        };
        if let Outcome::Asked(Err(error)) = &outcome
            && error.is_temporary()
        {
            silent = Some(error.in_words());
        }
        let known = before.iter().find(|known| known.reference == reference);
        states.push(state(reference, outcome, known));
    }
    states
}

/// Leaves open what is there now, but which a run in progress of policy `running` may be about to delete, because it
/// was told of the policies before this hold was among them. It is looked at again when that run has ended.
pub fn leave_open(states: &mut [HoldStatus], running: &str) {
    for state in states.iter_mut().filter(|state| state.state == HoldState::Held) {
        state.state = HoldState::Unknown;
        state.message = Some(clip(&format!("RetentionPolicy {running} is being run: looked at again after that")));
    }
}

#[derive(Debug)]
enum Outcome {
    Over,
    Asked(Result<RestoreReport, Error>),
    NotAsked(String),
}

fn request(hold: &Hold) -> RestoreReferenceRequest {
    // A tag that points to something else by now was moved on purpose; which of the two is meant is for people.
    let conflict = Conflict::Fail;
    RestoreReferenceRequest { repository: hold.repository.clone(), reference: hold.reference.clone(), conflict }
}

/// What is said about a hold. What was restored once is said to be for as long as it is there.
fn state(reference: String, outcome: Outcome, before: Option<&HoldStatus>) -> HoldStatus {
    let restored_before = before.filter(|before| before.state == HoldState::Restored);
    let (state, message) = match outcome {
        Outcome::Over => (HoldState::Expired, Some("its time is over: policies may delete it".to_owned())),
        Outcome::Asked(Ok(report)) if report.already_present => match restored_before {
            Some(before) => (before.state, before.message.clone()),
            None => (HoldState::Held, None),
        },
        Outcome::Asked(Ok(report)) => (HoldState::Restored, Some(restored(&report))),
        Outcome::Asked(Err(Error::NotFound { said })) => (HoldState::Missing, Some(said)),
        Outcome::Asked(Err(Error::Conflict { said })) => (HoldState::Conflict, Some(said)),
        Outcome::Asked(Err(error)) => (HoldState::Unknown, Some(error.in_words())),
        Outcome::NotAsked(words) => (HoldState::Unknown, Some(words)),
    };
    HoldStatus { reference, state, message: message.map(|message| clip(&message)) }
}

/// What came back, and what did not.
fn restored(report: &RestoreReport) -> String {
    let moved: Vec<String> =
        report.moved_tags.iter().map(|moved| format!("{} points to {}", moved.tag, moved.digest)).collect();
    let without = if moved.is_empty() {
        String::new()
    } else {
        format!("; without tags that point to something else by now: {}", moved.join(", "))
    };
    format!("restored as {}{without}", report.digest)
}

#[cfg(test)]
mod tests {
    use crate::api::wire::MovedTag;
    use crate::oci::{Algorithm, Digest};

    use super::*;

    fn report(already_present: bool) -> Outcome {
        let repository = "app".parse().unwrap();
        let digest = Digest::of(Algorithm::Sha256, b"a");
        Outcome::Asked(Ok(RestoreReport {
            repository,
            digest,
            tags: vec![],
            manifests: vec![],
            moved_tags: vec![],
            already_present,
        }))
    }

    fn known(state: HoldState) -> HoldStatus {
        HoldStatus { reference: "app:v1".to_owned(), state, message: Some("before".to_owned()) }
    }

    #[test]
    fn state_says_what_the_registry_said() {
        let said = "words".to_owned();
        for (outcome, before, expected) in [
            (report(false), None, HoldState::Restored),
            (report(true), None, HoldState::Held),
            (report(true), Some(HoldState::Restored), HoldState::Restored),
            (report(true), Some(HoldState::Missing), HoldState::Held),
            (Outcome::Asked(Err(Error::NotFound { said: said.clone() })), None, HoldState::Missing),
            (Outcome::Asked(Err(Error::Conflict { said: said.clone() })), None, HoldState::Conflict),
            (Outcome::Asked(Err(Error::Failing { said: said.clone() })), Some(HoldState::Held), HoldState::Unknown),
            (Outcome::NotAsked(said), None, HoldState::Unknown),
            (Outcome::Over, Some(HoldState::Restored), HoldState::Expired),
        ] {
            let text = format!("{outcome:?} after {before:?}");
            let before = before.map(known);
            assert_eq!(state("app:v1".to_owned(), outcome, before.as_ref()).state, expected, "{text}");
        }
    }

    #[test]
    fn tags_that_stayed_away_are_told() {
        let Outcome::Asked(Ok(mut report)) = report(false) else { panic!("it is a report") };
        assert!(!restored(&report).contains("without"), "{}", restored(&report));
        let digest = Digest::of(Algorithm::Sha256, b"other");
        report.moved_tags = vec![MovedTag { tag: "latest".parse().unwrap(), digest: digest.clone() }];
        assert!(restored(&report).contains(&format!("latest points to {digest}")), "{}", restored(&report));
    }

    #[test]
    fn what_is_there_is_looked_at_again_after_another_policys_run() {
        let mut states = [HoldState::Held, HoldState::Restored, HoldState::Missing].map(known);
        leave_open(&mut states, "nightly");
        // What was restored lately no policy deletes.
        assert_eq!(
            states.each_ref().map(|state| state.state),
            [HoldState::Unknown, HoldState::Restored, HoldState::Missing]
        );
        assert!(states[0].message.as_ref().unwrap().contains("nightly"));
    }

    #[tokio::test]
    async fn registry_that_cannot_be_asked_leaves_every_hold_open_but_those_that_are_over() {
        let now: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        let hold = |until: Option<Timestamp>| Hold {
            repository: "app".parse().unwrap(),
            reference: "v1".parse().unwrap(),
            until,
            reason: None,
        };
        let error = Error::Failing { said: "it sleeps".to_owned() };
        let states = restore(Err(&error), &[hold(None), hold(Some(now))], &[], now).await;
        assert_eq!(states[0].state, HoldState::Unknown);
        assert_eq!(states[0].message.as_deref(), Some("it sleeps"));
        assert_eq!(states[1].state, HoldState::Expired);
    }
}

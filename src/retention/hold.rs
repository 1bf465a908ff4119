//! What stays because somebody said so.

use jiff::Timestamp;

use crate::oci::{Reference, RepositoryName};

/// An image that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Where.
    pub repository: RepositoryName,
    /// A tag holds whatever it points to; a digest holds that manifest and the tags that point to it. Both hold
    /// what the manifest lists, and its referrers.
    pub reference: Reference,
    /// Until when; `None`: for good.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
}

impl Hold {
    /// Whether it holds at `now`.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_at_its_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut hold = Hold {
            repository: "app".parse().unwrap(),
            reference: "v1".parse().unwrap(),
            until: Some(at(10)),
            reason: None,
        };
        assert!(hold.is_active(at(9)));
        assert!(!hold.is_active(at(10)));
        hold.until = None;
        assert!(hold.is_active(at(1_000_000)));
    }
}

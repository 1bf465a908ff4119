//! From what somebody wrote to what the engine plans with.

use crate::api::wire::PolicySource;
use crate::api::{FieldError, Invalid};
use crate::oci::{Reference, RepositoryName};
use crate::retention;

use super::{
    Granularity, Hold, InUseProtection, Mode, OrphanedReferrers, RetentionPolicySpec, UnmatchedTags, UntaggedAction,
    UntaggedSpec,
};

impl TryFrom<&PolicySource> for retention::Policy {
    type Error = Invalid;

    fn try_from(source: &PolicySource) -> Result<Self, Self::Error> {
        let id = retention::PolicyId {
            namespace: source.namespace.clone(),
            name: source.name.clone(),
            uid: source.uid.clone(),
            generation: source.generation,
        };
        source.spec.compile(id)
    }
}

impl RetentionPolicySpec {
    /// The policy that the engine plans with. Everything is checked again, for a stored object may be older than
    /// the schema; its schedule too, so that a policy that cannot run says so at once.
    ///
    /// # Errors
    /// [`Invalid`] with every field that is wrong.
    pub fn compile(&self, id: retention::PolicyId) -> Result<retention::Policy, Invalid> {
        let mut errors = Vec::new();
        let mut note = |error: FieldError| errors.push(error);
        if let Err(error) = self.compile_schedule() {
            note(error);
        }
        let repositories = self.compile_repositories().map_err(&mut note).ok();
        let rules = self.keep.iter().enumerate().filter_map(|(at, rule)| rule.compile(at).map_err(&mut note).ok());
        let keep: Vec<retention::Rule> = rules.collect();
        let holds = self.holds.iter().enumerate().filter_map(|(at, hold)| hold.compile(at).map_err(&mut note).ok());
        let holds: Vec<retention::Hold> = holds.collect();
        if let Some(name) = self.repeated_rule_name() {
            note(FieldError::new("spec.keep", format!("two rules are called {name:?}: give each a name of its own")));
        }
        self.in_use.check().into_iter().for_each(&mut note);
        if self.limits.max_delete_percent > 100 {
            note(FieldError::new("spec.limits.maxDeletePercent", "write 0 to 100, which is no limit"));
        }
        Invalid::unless_empty(errors)?;
        let repositories = repositories.ok_or_else(|| FieldError::new("spec.repositories", "cannot be read"))?;
        Ok(retention::Policy {
            id,
            mode: self.mode.into(),
            suspended: self.suspend,
            repositories,
            minimum_age: self.minimum_age.as_std(),
            unmatched_tags: self.unmatched_tags.into(),
            granularity: self.granularity.into(),
            keep,
            untagged: (&self.untagged).into(),
            orphaned: self.referrers.orphaned.into(),
            in_use: self.in_use.protection.into(),
            holds,
            limits: retention::Limits {
                max_deletions: self.limits.max_deletions.into(),
                max_delete_percent: self.limits.max_delete_percent,
            },
        })
    }

    /// When the policy runs.
    ///
    /// # Errors
    /// [`FieldError`] of `spec.schedule` or `spec.timeZone`.
    pub fn compile_schedule(&self) -> Result<retention::Schedule, FieldError> {
        retention::Schedule::parse(&self.schedule, &self.time_zone).map_err(|error| match error {
            retention::ScheduleError::Zone { .. } => FieldError::new("spec.timeZone", error),
            retention::ScheduleError::Cron { .. } | retention::ScheduleError::Never { .. } => {
                FieldError::new("spec.schedule", error)
            }
        })
    }

    fn compile_repositories(&self) -> Result<retention::RepositoryPatterns, FieldError> {
        let selector = &self.repositories;
        if selector.include.is_empty() {
            return Err(FieldError::new(
                "spec.repositories.include",
                "names no repository: write [\"**\"] for all of them",
            ));
        }
        retention::RepositoryPatterns::new(&selector.include, &selector.exclude)
            .map_err(|error| FieldError::new("spec.repositories", error))
    }

    fn repeated_rule_name(&self) -> Option<&str> {
        let mut names = std::collections::BTreeSet::new();
        self.keep.iter().map(|rule| rule.name.as_str()).find(|name| !names.insert(*name))
    }
}

impl Hold {
    fn compile(&self, at: usize) -> Result<retention::Hold, FieldError> {
        let path = format!("spec.holds[{at}]");
        let repository = self.repository.parse::<RepositoryName>();
        let reference = self.reference.parse::<Reference>();
        Ok(retention::Hold {
            repository: repository.map_err(|error| FieldError::new(format!("{path}.repository"), error))?,
            reference: reference.map_err(|error| FieldError::new(format!("{path}.reference"), error))?,
            until: self.until.as_ref().map(|until| until.0),
            reason: self.reason.clone(),
        })
    }
}

impl From<Mode> for retention::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::DryRun => Self::DryRun,
            Mode::Enforce => Self::Enforce,
        }
    }
}

impl From<UnmatchedTags> for retention::UnmatchedTags {
    fn from(unmatched: UnmatchedTags) -> Self {
        match unmatched {
            UnmatchedTags::Ignore => Self::Ignore,
            UnmatchedTags::Delete => Self::Delete,
        }
    }
}

impl From<Granularity> for retention::Granularity {
    fn from(granularity: Granularity) -> Self {
        match granularity {
            Granularity::Tag => Self::Tag,
            Granularity::Image => Self::Image,
        }
    }
}

impl From<&UntaggedSpec> for retention::Untagged {
    fn from(untagged: &UntaggedSpec) -> Self {
        let action = match untagged.action {
            UntaggedAction::Keep => retention::UntaggedAction::Keep,
            UntaggedAction::Delete => retention::UntaggedAction::Delete,
        };
        Self { action, minimum_age: untagged.minimum_age.as_std() }
    }
}

impl From<OrphanedReferrers> for retention::OrphanedReferrers {
    fn from(orphaned: OrphanedReferrers) -> Self {
        match orphaned {
            OrphanedReferrers::Delete => Self::Delete,
            OrphanedReferrers::Keep => Self::Keep,
        }
    }
}

impl From<InUseProtection> for retention::InUseProtection {
    fn from(protection: InUseProtection) -> Self {
        match protection {
            InUseProtection::Enabled => Self::Enabled,
            InUseProtection::Disabled => Self::Disabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(spec: &str) -> Result<retention::Policy, Invalid> {
        let spec: RetentionPolicySpec = serde_yaml::from_str(spec).unwrap();
        let id = retention::PolicyId { namespace: "n".into(), name: "p".into(), uid: "u".into(), generation: 1 };
        spec.compile(id)
    }

    #[test]
    fn defaults_are_the_safe_ones() {
        let policy = compile("registryRef: {name: main}").unwrap();
        assert_eq!(policy.mode, retention::Mode::DryRun);
        assert_eq!(policy.unmatched_tags, retention::UnmatchedTags::Ignore);
        assert_eq!(policy.granularity, retention::Granularity::Tag);
        assert_eq!(policy.untagged.action, retention::UntaggedAction::Keep);
        assert_eq!(policy.in_use, retention::InUseProtection::Enabled);
        assert_eq!(policy.minimum_age.as_secs(), 3600);
        assert_eq!(policy.limits, retention::Limits { max_deletions: 1000, max_delete_percent: 25 });
        assert!(policy.repositories.matches(&"any/where".parse().unwrap()));
    }

    #[test]
    fn errors_name_the_field_and_all_of_them_are_told() {
        let invalid = compile(
            "registryRef: {name: main}\nschedule: nightly\nrepositories: {include: ['{a']}\n\
             keep: [{name: a, tags: ['v[']}, {name: b, tags: ['*']}, {name: b, tags: ['*'], always: {}}]\n\
             holds: [{repository: App, reference: v1}, {repository: app, reference: 'a/b'}]\n\
             inUse: {customResources: [{apiVersion: a.b/v1, kind: C, paths: [.spec.image, spec.image]}]}",
        )
        .unwrap_err();
        let paths: Vec<&str> = invalid.errors().iter().map(|error| error.path.as_str()).collect();
        let expected = [
            "spec.schedule",
            "spec.repositories",
            "spec.keep[0].tags",
            "spec.keep[1]",
            "spec.holds[0].repository",
            "spec.holds[1].reference",
            "spec.keep",
            "spec.inUse.customResources[0].paths[1]",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn a_time_zone_that_is_none_names_its_field() {
        let invalid = compile("registryRef: {name: main}\ntimeZone: Mars/Olympus").unwrap_err();
        assert_eq!(invalid.errors()[0].path, "spec.timeZone");
        assert!(invalid.to_string().contains("Europe/Berlin"), "{invalid}");
    }
}

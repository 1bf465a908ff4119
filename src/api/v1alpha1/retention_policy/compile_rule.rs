//! From a rule as somebody wrote it to one that the engine plans with.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use crate::api::{Duration, FieldError};
use crate::oci::Platform;
use crate::retention::{Criterion, Rule, RuleError, TagPatterns, VersionRule};

use super::{KeepRule, SemverCriterion};

impl KeepRule {
    /// The rule that is number `at` in `spec.keep`.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub(super) fn compile(&self, at: usize) -> Result<Rule, FieldError> {
        let path = format!("spec.keep[{at}]");
        if self.tags.is_empty() {
            return Err(FieldError::new(format!("{path}.tags"), "matches no tag: write [\"*\"] for all"));
        }
        let tags = TagPatterns::new(&self.tags).map_err(|error| FieldError::new(format!("{path}.tags"), error))?;
        let mut criteria = Vec::new();
        self.add_times(&path, &mut criteria)?;
        self.add_content(&path, &mut criteria)?;
        Rule::new(&self.name, tags, criteria).map_err(|RuleError::NoCriterion| {
            FieldError::new(path, "needs a criterion, such as always: {}, mostRecentlyPushed, pulledWithin or semver")
        })
    }

    fn add_times(&self, path: &str, criteria: &mut Vec<Criterion>) -> Result<(), FieldError> {
        criteria.extend(self.always.map(|_| Criterion::Always));
        let pushed = number(self.most_recently_pushed, path, "mostRecentlyPushed")?;
        criteria.extend(pushed.map(Criterion::MostRecentlyPushed));
        let pulled = number(self.most_recently_pulled, path, "mostRecentlyPulled")?;
        criteria.extend(pulled.map(Criterion::MostRecentlyPulled));
        criteria.extend(age(self.pushed_within.as_ref(), path, "pushedWithin")?.map(Criterion::PushedWithin));
        criteria.extend(age(self.pulled_within.as_ref(), path, "pulledWithin")?.map(Criterion::PulledWithin));
        criteria.extend(age(self.created_within.as_ref(), path, "createdWithin")?.map(Criterion::CreatedWithin));
        Ok(())
    }

    fn add_content(&self, path: &str, criteria: &mut Vec<Criterion>) -> Result<(), FieldError> {
        if let Some(semver) = &self.semver {
            criteria.push(Criterion::Version(Arc::new(semver.compile(&format!("{path}.semver"))?)));
        }
        if let Some(labels) = some(self.labels.as_ref(), BTreeMap::is_empty, path, "labels")? {
            criteria.push(Criterion::Labels(Arc::new(labels.clone())));
        }
        if let Some(wanted) = some(self.annotations.as_ref(), BTreeMap::is_empty, path, "annotations")? {
            criteria.push(Criterion::Annotations(Arc::new(wanted.clone())));
        }
        if let Some(types) = some(self.artifact_types.as_ref(), Vec::is_empty, path, "artifactTypes")? {
            criteria.push(Criterion::ArtifactTypes(types.clone().into()));
        }
        if let Some(platforms) = some(self.platforms.as_ref(), Vec::is_empty, path, "platforms")? {
            let parse = |(at, text): (usize, &String)| {
                let parsed = text.parse::<Platform>();
                parsed.map_err(|error| FieldError::new(format!("{path}.platforms[{at}]"), error))
            };
            let platforms = platforms.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
            criteria.push(Criterion::Platforms(platforms.into()));
        }
        if let Some(size) = &self.within_size {
            let bytes = Some(size.as_bytes()).filter(|bytes| *bytes > 0);
            criteria.push(Criterion::WithinSize(bytes.ok_or_else(|| keeps_nothing(path, "withinSize", "20Gi"))?));
        }
        Ok(())
    }
}

impl SemverCriterion {
    fn compile(&self, path: &str) -> Result<VersionRule, FieldError> {
        let range = self.range.as_ref().map(|range| range.parse());
        let range = range.transpose().map_err(|error: semver::Error| {
            let message = format!("is no range of versions such as >=1.0.0 or ^2.1, <2.5: {error}");
            FieldError::new(format!("{path}.range"), message)
        })?;
        Ok(VersionRule {
            range,
            keep_per_major: number(self.keep_per_major, path, "keepPerMajor")?,
            keep_per_minor: number(self.keep_per_minor, path, "keepPerMinor")?,
            keep_per_patch: number(self.keep_per_patch, path, "keepPerPatch")?,
        })
    }
}

fn number(count: Option<u32>, path: &str, field: &str) -> Result<Option<NonZeroU32>, FieldError> {
    let check =
        |count| NonZeroU32::new(count).ok_or_else(|| FieldError::new(format!("{path}.{field}"), "must be at least 1"));
    count.map(check).transpose()
}

fn age(given: Option<&Duration>, path: &str, field: &str) -> Result<Option<std::time::Duration>, FieldError> {
    match given.map(Duration::as_std) {
        Some(age) if age.is_zero() => Err(keeps_nothing(path, field, "720h")),
        age => Ok(age),
    }
}

fn keeps_nothing(path: &str, field: &str, example: &str) -> FieldError {
    let message = format!("keeps nothing when it is 0: write something such as {example}, or leave it out");
    FieldError::new(format!("{path}.{field}"), message)
}

/// Of an empty list or map it cannot be told whether all or nothing is meant.
fn some<'a, T>(
    given: Option<&'a T>,
    is_empty: impl Fn(&T) -> bool,
    path: &str,
    field: &str,
) -> Result<Option<&'a T>, FieldError> {
    match given {
        Some(given) if is_empty(given) => Err(FieldError::new(format!("{path}.{field}"), "must have an entry")),
        given => Ok(given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(rule: &str) -> Result<Rule, FieldError> {
        let rule: KeepRule = serde_yaml::from_str(rule).unwrap();
        rule.compile(3)
    }

    #[test]
    fn every_criterion_of_a_rule_is_there() {
        let rule = compile(
            "{name: a, tags: ['*', 'regex:v[0-9]+'], always: {}, mostRecentlyPushed: 3, mostRecentlyPulled: 4, \
             pushedWithin: 2h, pulledWithin: 3h, createdWithin: 4h, semver: {range: '>=1.0.0, <3', keepPerMajor: 1, \
             keepPerMinor: 2, keepPerPatch: 3}, labels: {keep: 'true'}, annotations: {tier: gold}, \
             artifactTypes: [application/x], platforms: [linux/arm64, linux/arm/v7], withinSize: 20Gi}",
        );
        let words: Vec<String> = rule.unwrap().criteria().iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "always kept",
                "among the 3 most recently pushed",
                "among the 4 most recently pulled",
                "pushed within 2h",
                "pulled within 3h",
                "created within 4h",
                "a version in >=1.0.0, <3 among the 1 highest of its major version or the 2 highest of its minor version \
                 or the 3 highest of its patch version",
                "labelled keep=true",
                "annotated tier=gold",
                "of type application/x",
                "for linux/arm64 or linux/arm/v7",
                "among the most recently pushed that fit in 21474836480 bytes",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (rule, path, part) in [
            ("{name: a, tags: ['regex:v('], always: {}}", "spec.keep[3].tags", "regex:v("),
            ("{name: a, tags: ['*'], semver: {range: newest}}", "spec.keep[3].semver.range", ">=1.0.0"),
            ("{name: a, tags: ['*'], semver: {keepPerMinor: 0}}", "spec.keep[3].semver.keepPerMinor", "at least 1"),
            ("{name: a, tags: ['*'], mostRecentlyPulled: 0}", "spec.keep[3].mostRecentlyPulled", "at least 1"),
            ("{name: a, tags: ['*'], platforms: [linux/arm64, linux]}", "spec.keep[3].platforms[1]", "linux/amd64"),
            ("{name: a, tags: ['*'], labels: {}}", "spec.keep[3].labels", "an entry"),
            ("{name: a, tags: ['*'], pushedWithin: 0h}", "spec.keep[3].pushedWithin", "720h"),
            ("{name: a, tags: ['*'], pulledWithin: 0s}", "spec.keep[3].pulledWithin", "720h"),
            ("{name: a, tags: ['*'], createdWithin: 0s}", "spec.keep[3].createdWithin", "720h"),
            ("{name: a, tags: ['*'], withinSize: '0'}", "spec.keep[3].withinSize", "20Gi"),
            ("{name: a, tags: ['!v1'], always: {}}", "spec.keep[3].tags", "no name has"),
            ("{name: a, tags: ['*'], artifactTypes: []}", "spec.keep[3].artifactTypes", "an entry"),
            ("{name: a, tags: ['*']}", "spec.keep[3]", "needs a criterion"),
        ] {
            let error = compile(rule).unwrap_err();
            assert_eq!(error.path, path);
            assert!(error.message.contains(part), "{error}");
        }
    }
}

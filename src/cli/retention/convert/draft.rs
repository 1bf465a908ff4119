//! A `RetentionPolicy` in the making.

use std::fmt;

use serde_yaml::{Mapping, Value};

use crate::api::Validator;
use crate::api::v1alpha1::{RetentionPolicy, RetentionPolicySpec};
use crate::retention::PolicyId;

/// Something that is not as it was in the other system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remark {
    /// Where in the other system's policy, such as `rules[2].action`.
    pub(super) place: String,
    /// What is not as it was.
    pub(super) text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// What keeps a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keeps {
    Always,
    MostRecentlyPushed(u64),
    MostRecentlyPulled(u64),
    /// In seconds.
    PushedWithin(u64),
    /// In seconds.
    PulledWithin(u64),
}

impl Keeps {
    /// Whether it depends on which other tags a rule matches.
    pub(super) fn is_rank(&self) -> bool {
        matches!(self, Self::MostRecentlyPushed(_) | Self::MostRecentlyPulled(_))
    }

    fn field(&self) -> (&'static str, Value) {
        match self {
            Self::Always => ("always", Value::Mapping(Mapping::new())),
            Self::MostRecentlyPushed(count) => ("mostRecentlyPushed", (*count).into()),
            Self::MostRecentlyPulled(count) => ("mostRecentlyPulled", (*count).into()),
            Self::PushedWithin(seconds) => ("pushedWithin", duration(*seconds)),
            Self::PulledWithin(seconds) => ("pulledWithin", duration(*seconds)),
        }
    }
}

/// A rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeepDraft {
    pub(super) name: String,
    pub(super) tags: Vec<String>,
    pub(super) keeps: Vec<Keeps>,
}

/// What becomes of manifests without a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UntaggedDraft {
    Keep,
    /// After so many seconds without one.
    DeleteAfter(u64),
}

impl UntaggedDraft {
    /// The one that deletes less.
    pub(super) fn or_less(self, other: Self) -> Self {
        match (self, other) {
            (Self::DeleteAfter(one), Self::DeleteAfter(other)) => Self::DeleteAfter(one.max(other)),
            _ => Self::Keep,
        }
    }
}

/// When a policy runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ScheduleDraft {
    /// As Lagan does it where nobody says when.
    Default,
    /// At these times of cron.
    Cron(String),
    /// Only when it is asked to.
    Never,
}

/// A `RetentionPolicy` in the making.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) include: Vec<String>,
    pub(super) exclude: Vec<String>,
    pub(super) schedule: ScheduleDraft,
    /// Whether tags that no rule matches go.
    pub(super) deletes_unmatched: bool,
    pub(super) keep: Vec<KeepDraft>,
    pub(super) untagged: UntaggedDraft,
    /// Whether referrers stay whose subject is gone.
    pub(super) keeps_orphans: bool,
}

impl Draft {
    /// Whether it neither keeps nor deletes anything; such a policy is refused.
    pub(super) fn does_nothing(&self) -> bool {
        self.keep.is_empty() && !self.deletes_unmatched && self.untagged == UntaggedDraft::Keep
    }

    /// The object in YAML.
    ///
    /// # Errors
    /// In words, if an API server or the engine would not take it.
    pub(super) fn to_yaml(&self, name: &str, registry: &str) -> Result<String, String> {
        let metadata = map([("name", name.into())]);
        let object = map([
            ("apiVersion", "lagan.dev/v1alpha1".into()),
            ("kind", "RetentionPolicy".into()),
            ("metadata", metadata),
            ("spec", self.spec(registry)),
        ]);
        check(&object).map_err(|words| format!("what it means is no valid policy here: {words}"))?;
        serde_yaml::to_string(&object).map_err(|error| error.to_string())
    }

    fn spec(&self, registry: &str) -> Value {
        let mut repositories = vec![("include", texts(&self.include))];
        if !self.exclude.is_empty() {
            repositories.push(("exclude", texts(&self.exclude)));
        }
        let mut fields = vec![("registryRef", map([("name", registry.into())])), ("mode", "DryRun".into())];
        match &self.schedule {
            ScheduleDraft::Default => {}
            ScheduleDraft::Cron(cron) => fields.push(("schedule", cron.as_str().into())),
            ScheduleDraft::Never => fields.push(("suspend", true.into())),
        }
        fields.push(("repositories", map(repositories)));
        // The other systems have no floor.
        fields.push(("minimumAge", duration(0)));
        fields.push(("unmatchedTags", if self.deletes_unmatched { "Delete" } else { "Ignore" }.into()));
        // Harbor and ECR take and count whole images; zot dates a tag as its image.
        fields.push(("granularity", "Image".into()));
        if !self.keep.is_empty() {
            fields.push(("keep", Value::Sequence(self.keep.iter().map(rule).collect())));
        }
        fields.push((
            "untagged",
            match self.untagged {
                UntaggedDraft::Keep => map([("action", "Keep".into())]),
                UntaggedDraft::DeleteAfter(seconds) => {
                    map([("action", "Delete".into()), ("minimumAge", duration(seconds))])
                }
            },
        ));
        if self.keeps_orphans {
            fields.push(("referrers", map([("orphaned", "Keep".into())])));
        }
        map(fields)
    }
}

/// Checks an object as an API server would, and as the engine does.
fn check(object: &Value) -> Result<(), String> {
    let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
    let validator = Validator::new().map_err(|error| error.to_string())?;
    let object = validator.validate(&object).map_err(|invalid| invalid.to_string())?;
    let policy: RetentionPolicy = serde_json::from_value(object).map_err(|error| error.to_string())?;
    compile(&policy.spec).map(drop)
}

/// What the engine makes of a policy.
pub(super) fn compile(spec: &RetentionPolicySpec) -> Result<crate::retention::Policy, String> {
    let id = PolicyId { namespace: String::new(), name: "policy".to_owned(), uid: String::new(), generation: 1 };
    spec.compile(id).map_err(|invalid| invalid.to_string())
}

fn rule(draft: &KeepDraft) -> Value {
    let mut fields = vec![("name", draft.name.as_str().into()), ("tags", texts(&draft.tags))];
    fields.extend(draft.keeps.iter().map(Keeps::field));
    map(fields)
}

fn map(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Mapping(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

fn texts(texts: &[String]) -> Value {
    Value::Sequence(texts.iter().map(|text| text.as_str().into()).collect())
}

/// In hours where that is whole: people count in days.
fn duration(seconds: u64) -> Value {
    let text = match (seconds % 3600, seconds % 60) {
        (0, _) if seconds > 0 => format!("{}h", seconds / 3600),
        (_, 0) if seconds > 0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    };
    text.into()
}

//! zot's `storage.retention` (`pkg/api/config`, `pkg/retention`; documented in its article on retention policies).
//!
//! The first policy whose patterns match a repository is the one that counts for it, and of that the first entry of
//! `keepTags` whose patterns match a tag; a tag that matches none goes. Expressions match anywhere in a tag. A tag is as old,
//! and as lately pulled, as its image.

use serde::Deserialize;
use serde_json::Value;

use super::{
    Translation,
    draft::{Draft, KeepDraft, Keeps, ScheduleDraft, UntaggedDraft},
    duration::go_seconds,
    has_empty_alternative, of_a_rank_by_pulls, remark_on_first_pushes,
};
use crate::cli::yaml;
use crate::retention::TagPatterns;

/// What zot takes where `delay` is missing.
const DEFAULT_DELAY: u64 = 24 * 3600;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Retention {
    #[serde(default)]
    dry_run: bool,
    delay: Option<String>,
    #[serde(default)]
    policies: Vec<Policy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Policy {
    #[serde(default)]
    repositories: Vec<String>,
    #[serde(default)]
    delete_referrers: bool,
    delete_untagged: Option<bool>,
    #[serde(default)]
    keep_tags: Vec<KeepTags>,
    keep_untagged: Option<Counts>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KeepTags {
    #[serde(default)]
    patterns: Vec<String>,
    pulled_within: Option<String>,
    pushed_within: Option<String>,
    #[serde(default)]
    most_recently_pushed_count: u64,
    #[serde(default)]
    most_recently_pulled_count: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Counts {
    pulled_within: Option<String>,
    pushed_within: Option<String>,
    #[serde(default)]
    most_recently_pushed_count: u64,
    #[serde(default)]
    most_recently_pulled_count: u64,
}

/// Reads zot's configuration, in JSON or YAML; its `storage`, or `retention` of that, will do too.
///
/// # Errors
/// In words, if it is none.
pub(super) fn translate(text: &str) -> Result<Translation, String> {
    yaml::check_depth(text)?;
    let whole: Value = serde_yaml::from_str(text).map_err(|error| format!("it is neither JSON nor YAML: {error}"))?;
    let mut translation = Translation::default();
    let storage = whole.get("storage").unwrap_or(&whole);
    let (place, retention) = match (whole.get("storage"), storage.get("retention")) {
        (Some(_), Some(found)) => ("storage.retention", found),
        (None, Some(found)) => ("retention", found),
        (None, None) if whole.get("policies").is_some() => ("", &whole),
        _ => return Err("it has no storage.retention, where zot's policies are".to_owned()),
    };
    check_version(&whole)?;
    let retention: Retention = serde_path(retention, place)?;
    if retention.policies.is_empty() {
        return Err(format!("{place}.policies: there is none, so there is nothing to translate"));
    }
    let is_off = storage.get("gc") == Some(&Value::Bool(false));
    if is_off {
        translation.remark("storage.gc", "it is false, so zot deletes nothing: the policies are suspended");
    }
    for path in storage.get("subPaths").and_then(Value::as_object).into_iter().flat_map(|paths| paths.keys()) {
        translation
            .remark(format!("storage.subPaths[{path:?}]"), "its retention is not translated: convert it by itself");
    }
    if retention.dry_run {
        translation.remark("dryRun", "it is true, and so is it here: mode is DryRun");
    }
    let delay = match &retention.delay {
        Some(text) => go_seconds(text).map_err(|words| format!("{place}.delay: {words}"))?,
        None => DEFAULT_DELAY,
    };
    let words = "it counts from the push in zot, and here from when a manifest lost its last tag";
    translation.remark("delay", words);
    let schedule = if is_off { ScheduleDraft::Never } else { ScheduleDraft::Default };
    let mut earlier: Vec<String> = Vec::new();
    for (at, policy) in retention.policies.iter().enumerate() {
        let include = policy.include();
        let draft = policy.translate(at, delay, &mut translation)?;
        let exclude = std::mem::take(&mut earlier);
        earlier = exclude.iter().chain(&include).cloned().collect();
        if include.is_empty() {
            translation.remark(format!("policies[{at}].repositories"), "it is empty, so the policy counts nowhere");
            continue;
        }
        if draft.does_nothing() {
            let words = "it deletes nothing, so it is left out: no other policy here is about its repositories";
            translation.remark(format!("policies[{at}]"), words);
            continue;
        }
        translation.drafts.push(Draft { include, exclude, schedule: schedule.clone(), ..draft });
    }
    if !earlier.iter().any(|pattern| pattern == "**") {
        translation.drafts.push(the_others(earlier, schedule, delay));
    }
    if translation.drafts.is_empty() {
        return Err(format!("{place}.policies: they delete nothing, so there is nothing to translate"));
    }
    Ok(translation)
}

/// What counts for repositories that no policy matches: manifests without a tag go.
fn the_others(exclude: Vec<String>, schedule: ScheduleDraft, delay: u64) -> Draft {
    Draft {
        include: vec!["**".to_owned()],
        exclude,
        schedule,
        deletes_unmatched: false,
        keep: Vec::new(),
        untagged: UntaggedDraft::DeleteAfter(delay),
        keeps_orphans: true,
    }
}

fn check_version(whole: &Value) -> Result<(), String> {
    let version = ["distSpecVersion", "distspecversion"].iter().find_map(|key| whole.get(*key)).and_then(Value::as_str);
    match version {
        Some(version) if !version.starts_with("1.") => {
            Err(format!("distSpecVersion: {version:?} is not known; zot's configurations of 1.0 and 1.1 are"))
        }
        _ => Ok(()),
    }
}

fn serde_path(retention: &Value, place: &str) -> Result<Retention, String> {
    Retention::deserialize(retention).map_err(|error| format!("{place}: it is no retention of zot: {error}"))
}

impl Policy {
    /// As patterns here: `a/**` is `a` itself in zot, too.
    fn include(&self) -> Vec<String> {
        let with_itself = |pattern: &String| {
            let itself = pattern.strip_suffix("/**").filter(|itself| !itself.is_empty()).map(str::to_owned);
            itself.into_iter().chain([pattern.clone()])
        };
        self.repositories.iter().flat_map(with_itself).collect()
    }

    fn translate(&self, at: usize, delay: u64, translation: &mut Translation) -> Result<Draft, String> {
        if let Some(odd) = self.repositories.iter().find(|pattern| has_empty_alternative(pattern)) {
            let place = format!("policies[{at}].repositories");
            return Err(format!("{place}: {odd:?} has an alternative of nothing, which cannot be told here"));
        }
        if !self.keep_tags.is_empty() {
            let words = "zot counts tags, and takes them one by one; here those of one image take one place, and all of them stay \
                         if one does, which keeps more";
            translation.remark(format!("policies[{at}].keepTags"), words);
        }
        let mut keep = Vec::new();
        for (number, entry) in self.keep_tags.iter().enumerate() {
            let place = format!("policies[{at}].keepTags[{number}]");
            let (mut keeps, tags) = (entry.keeps(&place, translation)?, entry.tags(&place)?);
            let overlapping: Vec<&KeepTags> =
                self.keep_tags.iter().take(number).filter(|earlier| earlier.may_match_what(entry)).collect();
            if !overlapping.is_empty() && keeps.iter().any(Keeps::is_rank) {
                let words = "it counts the tags that no entry before it matches, which cannot be told here: all of its \
                             tags stay. Patterns such as ^v1 and ^v2 can be told apart";
                translation.remark(&place, words);
                keeps = vec![Keeps::Always];
            } else if overlapping.iter().any(|earlier| !earlier.is_always()) {
                let words = "a tag that an entry before it matches too is decided by that one in zot; here it stays if either \
                             keeps it";
                translation.remark(&place, words);
            }
            keep.push(KeepDraft { name: format!("keep-tags-{}", number + 1), tags, keeps });
        }
        Ok(Draft {
            include: Vec::new(),
            exclude: Vec::new(),
            schedule: ScheduleDraft::Default,
            deletes_unmatched: !keep.is_empty(),
            keep,
            untagged: self.untagged(at, delay, translation)?,
            keeps_orphans: !self.delete_referrers,
        })
    }

    fn untagged(&self, at: usize, delay: u64, translation: &mut Translation) -> Result<UntaggedDraft, String> {
        let place = format!("policies[{at}].keepUntagged");
        if self.delete_untagged == Some(false) {
            let words = "manifests without a tag stay, those too that a run takes the last tag from, and such a run frees \
                         nothing";
            translation.remark(format!("policies[{at}].deleteUntagged"), words);
            return Ok(UntaggedDraft::Keep);
        }
        let Some(kept) = &self.keep_untagged else { return Ok(UntaggedDraft::DeleteAfter(delay)) };
        if kept.most_recently_pulled_count > 0 || kept.most_recently_pushed_count > 0 {
            translation.remark(&place, "manifests without a tag cannot be counted here: all of them stay");
            return Ok(UntaggedDraft::Keep);
        }
        let mut age = delay;
        for (field, text) in [("pulledWithin", &kept.pulled_within), ("pushedWithin", &kept.pushed_within)] {
            if let Some(text) = text {
                age = age.max(go_seconds(text).map_err(|words| format!("{place}.{field}: {words}"))?);
                let words = "the time counts from when a manifest lost its last tag, and pulls do not count";
                translation.remark(&place, words);
            }
        }
        Ok(UntaggedDraft::DeleteAfter(age))
    }
}

impl KeepTags {
    fn keeps(&self, place: &str, translation: &mut Translation) -> Result<Vec<Keeps>, String> {
        let seconds = |field: &str, text: &Option<String>| {
            let read = text.as_ref().map(|text| go_seconds(text).map_err(|words| format!("{place}.{field}: {words}")));
            read.transpose()
        };
        let mut keeps = Vec::new();
        if self.most_recently_pushed_count > 0 {
            remark_on_first_pushes(&format!("{place}.mostRecentlyPushedCount"), "zot", translation);
            keeps.push(Keeps::MostRecentlyPushed(self.most_recently_pushed_count));
        }
        keeps.extend(seconds("pulledWithin", &self.pulled_within)?.map(Keeps::PulledWithin));
        keeps.extend(seconds("pushedWithin", &self.pushed_within)?.map(Keeps::PushedWithin));
        if self.most_recently_pulled_count > 0 {
            let (place, count) = (format!("{place}.mostRecentlyPulledCount"), self.most_recently_pulled_count);
            keeps = vec![of_a_rank_by_pulls(&place, "zot", count, translation)];
        }
        if keeps.is_empty() {
            keeps.push(Keeps::Always);
        }
        Ok(keeps)
    }

    fn is_always(&self) -> bool {
        self.most_recently_pushed_count == 0
            && self.most_recently_pulled_count == 0
            && self.pulled_within.is_none()
            && self.pushed_within.is_none()
    }

    /// As patterns here, which match a tag as a whole.
    fn tags(&self, place: &str) -> Result<Vec<String>, String> {
        if self.matches_everything() {
            return Ok(vec!["*".to_owned()]);
        }
        let patterns = self.patterns.iter().enumerate().map(|(number, expression)| {
            let pattern = format!("regex:.*(?:{expression}).*");
            let checked = TagPatterns::new(std::slice::from_ref(&pattern));
            checked.map_err(|error| {
                format!("{place}.patterns[{number}]: {expression:?} cannot be read here: {}", error.reason)
            })?;
            Ok(pattern)
        });
        patterns.collect()
    }

    fn matches_everything(&self) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern == ".*")
    }

    /// Whether both may match the same tag. Only what both begin with can tell them apart.
    fn may_match_what(&self, other: &Self) -> bool {
        if self.matches_everything() || other.matches_everything() {
            return true;
        }
        let apart = |one: &str, other: &str| match (beginning(one), beginning(other)) {
            (Some(one), Some(other)) => !one.starts_with(&other) && !other.starts_with(&one),
            _ => false,
        };
        !self.patterns.iter().all(|one| other.patterns.iter().all(|other| apart(one, other)))
    }
}

/// What everything begins with that an expression matches, if it is bound to the beginning.
fn beginning(expression: &str) -> Option<String> {
    let rest = expression.strip_prefix('^')?;
    if rest.contains('|') {
        return None;
    }
    let (mut text, mut characters) = (String::new(), rest.chars().peekable());
    while let Some(c) = characters.next() {
        let literal = match c {
            '\\' if characters.peek() == Some(&'.') => characters.next(),
            c if c.is_ascii_alphanumeric() || c == '_' || c == '-' => Some(c),
            _ => None,
        };
        // What may be left out, or come again, does not count.
        match literal {
            Some(literal) if !matches!(characters.peek(), Some('?' | '*' | '{' | '+')) => text.push(literal),
            _ => break,
        }
    }
    Some(text)
}

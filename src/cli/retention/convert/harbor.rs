//! Harbor's tag retention, as its API has it (`RetentionPolicy` of `api/v2.0/swagger.yaml`).
//!
//! In each repository that a rule's scope selects, an artifact stays with all of its tags if one of these rules retains
//! it, and all others go. So the rules of one scope are one policy whose unmatched tags go; and where scopes overlap, what
//! one policy keeps the other does not delete.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Translation,
    draft::{Draft, KeepDraft, Keeps, ScheduleDraft, UntaggedDraft},
    has_empty_alternative, of_a_rank_by_pulls,
    pattern::{Word, everything_but},
};

const DAY: u64 = 24 * 3600;

/// What Harbor takes where a template's parameter is missing: so many images, and so many days.
const DEFAULT_COUNT: u64 = 10;
const DEFAULT_DAYS: u64 = 30;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    #[serde(rename = "id")]
    _id: Option<i64>,
    algorithm: Option<String>,
    #[serde(default)]
    rules: Vec<Rule>,
    trigger: Option<Trigger>,
    scope: Option<Scope>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(rename = "id")]
    _id: Option<i64>,
    #[serde(rename = "priority")]
    _priority: Option<i64>,
    #[serde(default)]
    disabled: bool,
    action: Option<String>,
    template: String,
    #[serde(default)]
    params: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    tag_selectors: Vec<Selector>,
    #[serde(default)]
    scope_selectors: BTreeMap<String, Vec<Selector>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Selector {
    kind: String,
    decoration: String,
    #[serde(default)]
    pattern: String,
    #[serde(default)]
    extras: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trigger {
    kind: String,
    #[serde(default)]
    settings: BTreeMap<String, Value>,
    #[serde(rename = "references")]
    _references: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    level: String,
    #[serde(rename = "ref")]
    _reference: Option<i64>,
}

/// Which repositories a rule is about.
type Repositories = (Vec<String>, Vec<String>);

/// Reads Harbor's JSON; `project` is what the names of its repositories begin with.
///
/// # Errors
/// In words, if it is no such policy, or says what cannot be said here without deleting more.
pub(super) fn translate(text: &str, project: Option<&str>) -> Result<Translation, String> {
    let policy: Policy =
        serde_json::from_str(text).map_err(|error| format!("it is no retention policy of Harbor: {error}"))?;
    match policy.algorithm.as_deref() {
        None | Some("or") => {}
        Some(other) => return Err(format!("algorithm: {other:?} is not known; Harbor has \"or\"")),
    }
    if let Some(scope) = policy.scope.as_ref().filter(|scope| scope.level != "project") {
        return Err(format!("scope.level: {:?} is not known; Harbor has \"project\"", scope.level));
    }
    let mut translation = Translation::default();
    if project.is_none() {
        let words = "Harbor names its project by a number: the policy is for every project, unless --project names it";
        translation.remark("scope", words);
    }
    let schedule = schedule(policy.trigger.as_ref(), &mut translation)?;
    let enabled = policy.rules.iter().enumerate().filter(|(_, rule)| !rule.disabled);
    let mut groups: BTreeMap<Repositories, (Vec<KeepDraft>, UntaggedDraft)> = BTreeMap::new();
    for (at, rule) in enabled {
        let repositories = rule.repositories(at, project.unwrap_or("*"))?;
        let (keep, untagged) = rule.translate(at, &mut translation)?;
        let group = groups.entry(repositories).or_insert((Vec::new(), UntaggedDraft::DeleteAfter(0)));
        group.0.extend(keep);
        group.1 = group.1.or_less(untagged);
    }
    if groups.is_empty() {
        return Err("rules: none is enabled, so it deletes nothing, and there is nothing to translate".to_owned());
    }
    let untagged = least_deleting(&groups, &mut translation);
    translation.drafts = groups
        .into_iter()
        .map(|((include, exclude), (keep, _))| Draft {
            include,
            exclude,
            schedule: schedule.clone(),
            deletes_unmatched: true,
            keep,
            untagged,
            keeps_orphans: false,
        })
        .collect();
    Ok(translation)
}

/// Nothing keeps a manifest without a tag from another policy of the same repository, so all have the same.
fn least_deleting(
    groups: &BTreeMap<Repositories, (Vec<KeepDraft>, UntaggedDraft)>,
    translation: &mut Translation,
) -> UntaggedDraft {
    let all = groups.values().map(|(_, untagged)| *untagged);
    let least = all.fold(UntaggedDraft::DeleteAfter(0), UntaggedDraft::or_less);
    if groups.values().any(|(_, untagged)| *untagged != least) {
        let words = "rules of several scopes differ in what becomes of images without a tag: here it is the same in all, \
                     as in the one that keeps most";
        translation.remark("rules", words);
    }
    if least == UntaggedDraft::Keep {
        let words = "a rule retains images without a tag: here they stay, those too that a run takes the last tag from, and \
                     such a run frees nothing until untagged.action is Delete";
        translation.remark("rules", words);
    }
    least
}

/// Harbor's cron has seconds in front.
fn schedule(trigger: Option<&Trigger>, translation: &mut Translation) -> Result<ScheduleDraft, String> {
    let Some(trigger) = trigger else { return Ok(ScheduleDraft::Default) };
    if trigger.kind != "Schedule" {
        return Err(format!("trigger.kind: {:?} is not known; Harbor has \"Schedule\"", trigger.kind));
    }
    let cron = match trigger.settings.get("cron") {
        None | Some(Value::Null) => "",
        Some(Value::String(cron)) => cron.trim(),
        Some(_) => return Err("trigger.settings.cron: is no text".to_owned()),
    };
    if cron.is_empty() {
        let words = "it has no schedule: the policy is suspended, and runs with the annotation lagan.dev/run-at";
        translation.remark("trigger.settings.cron", words);
        return Ok(ScheduleDraft::Never);
    }
    let fields: Vec<String> = cron.split_whitespace().map(|field| field.replace('?', "*")).collect();
    let [second, minute_and_on @ ..] = fields.as_slice() else { return Ok(ScheduleDraft::Default) };
    if minute_and_on.len() != 5 {
        return Err(format!("trigger.settings.cron: {cron:?} does not have the six fields of Harbor's, seconds first"));
    }
    if second.parse::<u8>() != Ok(0) {
        translation.remark("trigger.settings.cron", "schedules here have no seconds: a run begins with the minute");
    }
    Ok(ScheduleDraft::Cron(minute_and_on.join(" ")))
}

impl Rule {
    fn repositories(&self, at: usize, project: &str) -> Result<Repositories, String> {
        let (mut include, mut exclude) = (Vec::new(), Vec::new());
        for (number, selector) in self.scope_selectors.get("repository").into_iter().flatten().enumerate() {
            let place = format!("rules[{at}].scope_selectors.repository[{number}]");
            selector.is_doublestar(&place)?;
            if has_empty_alternative(&selector.pattern) {
                return Err(format!(
                    "{place}: {:?} has an alternative of nothing, which cannot be told here",
                    selector.pattern
                ));
            }
            let everything = selector.pattern.is_empty() || selector.pattern == "**";
            let pattern = if everything { "**" } else { selector.pattern.as_str() };
            match selector.decoration.as_str() {
                "repoMatches" if everything => {}
                "repoMatches" => include.push(format!("{project}/{pattern}")),
                "repoExcludes" => exclude.push(format!("{project}/{pattern}")),
                other => {
                    return Err(format!(
                        "{place}.decoration: {other:?} is not known; Harbor has repoMatches and repoExcludes"
                    ));
                }
            }
        }
        if include.len() > 1 {
            let place = format!("rules[{at}].scope_selectors.repository");
            return Err(format!(
                "{place}: repositories that match several patterns at once cannot be told here: write one"
            ));
        }
        if include.is_empty() {
            include.push(format!("{project}/**"));
        }
        Ok((include, exclude))
    }

    /// The rule, if it keeps anything, and what becomes of images without a tag.
    fn translate(
        &self,
        at: usize,
        translation: &mut Translation,
    ) -> Result<(Option<KeepDraft>, UntaggedDraft), String> {
        let place = format!("rules[{at}]");
        if let Some(action) = self.action.as_deref().filter(|action| *action != "retain") {
            return Err(format!("{place}.action: {action:?} is not known; Harbor has \"retain\""));
        }
        let keeps = self.keeps(at, translation)?;
        let selected = self.tags(at)?;
        let Some(keeps) = keeps else { return Ok((None, UntaggedDraft::DeleteAfter(0))) };
        let untagged =
            if selected.with_untagged { untagged(&keeps, &place, translation) } else { UntaggedDraft::DeleteAfter(0) };
        if selected.patterns.is_empty() {
            return Ok((None, untagged));
        }
        let keeps = match (&selected.inexact, keeps.is_rank()) {
            (None, _) => keeps,
            (Some(why), false) => {
                translation.remark(&place, format!("{why}: the rule is for more tags here, and keeps those too"));
                keeps
            }
            (Some(why), true) => {
                translation.remark(&place, format!("{why}, and others would take their places: here all tags stay"));
                Keeps::Always
            }
        };
        Ok((
            Some(KeepDraft { name: format!("rule-{}", at + 1), tags: selected.patterns, keeps: vec![keeps] }),
            untagged,
        ))
    }

    /// What keeps; `None`: nothing, as the newest 0 do.
    fn keeps(&self, at: usize, translation: &mut Translation) -> Result<Option<Keeps>, String> {
        let place = format!("rules[{at}].template");
        let template = self.template.as_str();
        let (count, days) = (self.number(at, DEFAULT_COUNT), self.number(at, DEFAULT_DAYS));
        let keeps = match template {
            "always" => Keeps::Always,
            "latestPushedK" => Keeps::MostRecentlyPushed(count?),
            "latestActiveK" => Keeps::MostRecentlyPulled(count?),
            "latestPulledN" => match count? {
                0 => return Ok(None),
                count => of_a_rank_by_pulls(&place, "Harbor", count, translation),
            },
            "nDaysSinceLastPush" => Keeps::PushedWithin(days? * DAY),
            "lastXDays" => Keeps::PushedWithin(self.number(at, DEFAULT_COUNT)? * DAY),
            "nDaysSinceLastPull" => {
                let words = "Harbor does not retain what was never pulled, however new it is; here its push counts as a use, which \
                     keeps more";
                translation.remark(&place, words);
                Keeps::PulledWithin(days? * DAY)
            }
            other => {
                return Err(format!(
                    "{place}: {other:?} is not known; Harbor has always, latestPushedK, latestPulledN, latestActiveK, \
                     nDaysSinceLastPush, nDaysSinceLastPull and lastXDays"
                ));
            }
        };
        let nothing = matches!(
            keeps,
            Keeps::MostRecentlyPushed(0)
                | Keeps::MostRecentlyPulled(0)
                | Keeps::PushedWithin(0)
                | Keeps::PulledWithin(0)
        );
        Ok((!nothing).then_some(keeps))
    }

    /// The template's parameter, which is called as the template is.
    fn number(&self, at: usize, default: u64) -> Result<u64, String> {
        let Some(value) = self.params.as_ref().and_then(|params| params.get(&self.template)) else {
            return Ok(default);
        };
        // As much as Harbor takes for days.
        let whole = value.as_u64().filter(|number| *number <= 20_190_904);
        whole.ok_or_else(|| format!("rules[{at}].params.{}: {value} is no whole number from 0 on", self.template))
    }

    /// The tags that all selectors select.
    fn tags(&self, at: usize) -> Result<Selected, String> {
        let everything = Selected { patterns: vec!["**".to_owned()], with_untagged: true, inexact: None };
        let mut selected = everything;
        for (number, selector) in self.tag_selectors.iter().enumerate() {
            let place = format!("rules[{at}].tag_selectors[{number}]");
            let one = selector.tags(&place)?;
            let with_untagged = selected.with_untagged && one.with_untagged;
            let is_everything = |some: &Selected| some.patterns == ["**"] && some.inexact.is_none();
            selected = if is_everything(&selected) || one.patterns.is_empty() {
                one
            } else if is_everything(&one) || selected.patterns.is_empty() {
                selected
            } else {
                Selected {
                    inexact: Some("tags that several selectors select cannot be told here".to_owned()),
                    ..selected
                }
            };
            selected.with_untagged = with_untagged;
        }
        Ok(selected)
    }
}

/// The tags that a selector selects.
struct Selected {
    /// None: it is only about images without a tag, if at all.
    patterns: Vec<String>,
    with_untagged: bool,
    /// Why the patterns match more than it does, if they do.
    inexact: Option<String>,
}

impl Selector {
    fn is_doublestar(&self, place: &str) -> Result<(), String> {
        if self.kind == "doublestar" {
            Ok(())
        } else {
            Err(format!("{place}.kind: {:?} is not known; Harbor has \"doublestar\"", self.kind))
        }
    }

    fn tags(&self, place: &str) -> Result<Selected, String> {
        self.is_doublestar(place)?;
        let everything = self.pattern.is_empty() || self.pattern.chars().all(|c| c == '*');
        let pattern = if everything { "**" } else { self.pattern.as_str() };
        let excludes = match self.decoration.as_str() {
            "matches" => false,
            "excludes" => true,
            other => {
                return Err(format!("{place}.decoration: {other:?} is not known; Harbor has matches and excludes"));
            }
        };
        // Harbor: without a word about it, both kinds of selectors select images without a tag.
        let says_untagged = self.says_untagged().unwrap_or(!excludes);
        let with_untagged = says_untagged != excludes;
        let all_tags = |why: &str| Selected {
            patterns: vec!["**".to_owned()],
            with_untagged,
            inexact: Some(format!("tags that {why} {pattern:?} cannot be told here")),
        };
        if !excludes && has_empty_alternative(pattern) {
            return Ok(all_tags("match"));
        }
        if !excludes {
            return Ok(Selected { patterns: vec![pattern.to_owned()], with_untagged, inexact: None });
        }
        if everything {
            return Ok(Selected { patterns: Vec::new(), with_untagged, inexact: None });
        }
        let words: Option<Vec<Word>> = alternatives(pattern).iter().map(|glob| Word::of_glob(glob)).collect();
        Ok(match words.and_then(|words| everything_but(&words)) {
            Some(others) => Selected { patterns: vec![others], with_untagged, inexact: None },
            None => all_tags("do not match"),
        })
    }

    fn says_untagged(&self) -> Option<bool> {
        let extras: Value = serde_json::from_str(&self.extras).ok()?;
        let fields = extras.as_object()?;
        Some(fields.get("untagged").and_then(Value::as_bool).unwrap_or(false))
    }
}

/// What a rule that retains images without a tag means for them.
fn untagged(keeps: &Keeps, place: &str, translation: &mut Translation) -> UntaggedDraft {
    match keeps {
        Keeps::Always => UntaggedDraft::Keep,
        Keeps::PushedWithin(seconds) | Keeps::PulledWithin(seconds) => {
            let words =
                "for images without a tag the time counts from when they lost the last one, and pulls do not count";
            translation.remark(place, words);
            UntaggedDraft::DeleteAfter(*seconds)
        }
        Keeps::MostRecentlyPushed(_) | Keeps::MostRecentlyPulled(_) => {
            translation.remark(place, "images without a tag cannot be counted here: all of them stay");
            UntaggedDraft::Keep
        }
    }
}

/// The patterns of `{a,b*}`; a pattern without braces is the only one.
fn alternatives(pattern: &str) -> Vec<&str> {
    let inner = pattern.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match inner.filter(|inner| !inner.contains(['{', '}'])) {
        Some(inner) => inner.split(',').collect(),
        None => vec![pattern],
    }
}

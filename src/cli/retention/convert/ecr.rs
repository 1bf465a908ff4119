//! Lifecycle policies of Amazon ECR ("Lifecycle policy properties in Amazon ECR", "Examples of lifecycle policies").
//!
//! Its rules say what goes. The first rule, by priority, whose tags match an image is the only one that may take it; but
//! each counts what it matches, whether an earlier one takes it or not. An image goes with all of its tags. A rule that
//! takes what is not among the newest N keeps the newest N; what no rule matches stays.

use serde::Deserialize;

use super::{
    Translation,
    draft::{Draft, KeepDraft, Keeps, ScheduleDraft, UntaggedDraft},
    pattern::{Word, everything_but, is_of_tag, may_overlap},
    remark_on_first_pushes,
};

const DAY: u64 = 24 * 3600;

/// What `aws ecr get-lifecycle-policy` prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    lifecycle_policy_text: String,
    repository_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(rename = "rulePriority")]
    priority: u32,
    #[serde(rename = "description")]
    _description: Option<String>,
    selection: Selection,
    action: Action,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Selection {
    tag_status: String,
    #[serde(default)]
    tag_pattern_list: Vec<String>,
    #[serde(default)]
    tag_prefix_list: Vec<String>,
    storage_class: Option<String>,
    count_type: String,
    count_unit: Option<String>,
    count_number: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Action {
    #[serde(rename = "type")]
    type_: String,
    #[serde(rename = "targetStorageClass")]
    _target: Option<String>,
}

/// A rule that was read.
struct Read {
    /// Where it stands in the text.
    place: String,
    name: String,
    images: Images,
    keeps: Keeps,
}

/// Which images a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Images {
    Tagged(Vec<String>),
    Untagged,
    All,
}

impl Images {
    fn tags(&self) -> Vec<String> {
        match self {
            Self::Tagged(globs) => globs.clone(),
            Self::Untagged => Vec::new(),
            Self::All => vec!["*".to_owned()],
        }
    }

    fn has_untagged(&self) -> bool {
        !matches!(self, Self::Tagged(_))
    }
}

/// Reads ECR's JSON, or what its command line prints; `repositories` are those that have the policy.
///
/// # Errors
/// In words, if it is no such policy.
pub(super) fn translate(text: &str, repositories: &[String]) -> Result<Translation, String> {
    let wrong = |error: serde_json::Error| format!("it is no lifecycle policy of ECR: {error}");
    let answer = serde_json::from_str::<Answer>(text).ok();
    let inner = answer.as_ref().map_or(text, |answer| answer.lifecycle_policy_text.as_str());
    let mut policy: Policy = serde_json::from_str(inner).map_err(wrong)?;
    if policy.rules.is_empty() {
        return Err("rules: there is none, so there is nothing to translate".to_owned());
    }
    let mut translation = Translation::default();
    let words = "ECR takes an image with all of its tags, and leaves one that several rules match to the first of them; here it \
                 stays if a rule keeps it, and a tag that no rule is about stays as well, which keeps more";
    translation.remark("rules", words);
    let mut numbered: Vec<(usize, Rule)> = policy.rules.drain(..).enumerate().collect();
    numbered.sort_by_key(|(_, rule)| rule.priority);
    if let Some(twice) = numbered.windows(2).find_map(|pair| match pair {
        [(_, one), (at, other)] if one.priority == other.priority => Some(at),
        _ => None,
    }) {
        return Err(format!("rules[{twice}].rulePriority: another rule has the same"));
    }
    let rules: Vec<Read> = numbered
        .iter()
        .filter_map(|(at, rule)| rule.read(*at, &mut translation).transpose())
        .collect::<Result<_, _>>()?;
    let include = including(repositories, answer.and_then(|answer| answer.repository_name), &mut translation);
    let untagged = untagged(&rules, &mut translation);
    translation.drafts = vec![Draft {
        include,
        exclude: Vec::new(),
        schedule: ScheduleDraft::Default,
        deletes_unmatched: false,
        keep: (0..rules.len()).filter_map(|at| keep(&rules, at, &mut translation)).collect(),
        untagged,
        keeps_orphans: false,
    }];
    Ok(translation)
}

fn including(given: &[String], named: Option<String>, translation: &mut Translation) -> Vec<String> {
    if !given.is_empty() {
        return given.to_vec();
    }
    if let Some(name) = named {
        return vec![name];
    }
    let words = "it does not say which repository has it: the policy is for all, unless --repository names some";
    translation.remark("repositoryName", words);
    vec!["**".to_owned()]
}

impl Rule {
    /// `None`: what it is about does not exist here.
    fn read(&self, at: usize, translation: &mut Translation) -> Result<Option<Read>, String> {
        let place = format!("rules[{at}]");
        let selection = &self.selection;
        match selection.storage_class.as_deref() {
            None | Some("standard") => {}
            Some("archive") => {
                translation.remark(
                    format!("{place}.selection.storageClass"),
                    "there is no archive here: the rule is left out",
                );
                return Ok(None);
            }
            Some(other) => {
                return Err(format!(
                    "{place}.selection.storageClass: {other:?} is not known; ECR has standard and archive"
                ));
            }
        }
        let images = selection.images(&place)?;
        let mut keeps = selection.keeps(&place)?;
        match self.action.type_.as_str() {
            "expire" => {}
            "transition" => {
                let words = "there is no archive here: what the rule moves there stays as it is";
                translation.remark(format!("{place}.action.type"), words);
                keeps = Keeps::Always;
            }
            other => return Err(format!("{place}.action.type: {other:?} is not known; ECR has expire and transition")),
        }
        if matches!(&images, Images::Tagged(globs) if globs.len() > 1) {
            let words = "it is about images that have a tag for each of the patterns, which cannot be told here: what has \
                         one of them stays";
            translation.remark(format!("{place}.selection"), words);
            keeps = Keeps::Always;
        }
        Ok(Some(Read { place, name: format!("rule-{}", self.priority), images, keeps }))
    }
}

impl Selection {
    fn images(&self, place: &str) -> Result<Images, String> {
        let place = format!("{place}.selection");
        let (patterns, prefixes) = (&self.tag_pattern_list, &self.tag_prefix_list);
        let names_tags = !patterns.is_empty() || !prefixes.is_empty();
        match self.tag_status.as_str() {
            "tagged" if !names_tags => Err(format!("{place}: tagged needs a tagPatternList or a tagPrefixList")),
            "tagged" if !patterns.is_empty() && !prefixes.is_empty() => {
                Err(format!("{place}: has a tagPatternList and a tagPrefixList; ECR takes one of them"))
            }
            "tagged" => {
                let globs: Vec<String> =
                    patterns.iter().cloned().chain(prefixes.iter().map(|text| format!("{text}*"))).collect();
                let odd = globs.iter().find(|glob| !glob.chars().all(|c| is_of_tag(c) || c == '*'));
                match odd {
                    Some(odd) => Err(format!("{place}: {odd:?} has a character that no tag has")),
                    None => Ok(Images::Tagged(globs)),
                }
            }
            "untagged" | "any" if names_tags => {
                Err(format!("{place}: only tagged takes a tagPatternList or a tagPrefixList"))
            }
            "untagged" => Ok(Images::Untagged),
            "any" => Ok(Images::All),
            other => Err(format!("{place}.tagStatus: {other:?} is not known; ECR has tagged, untagged and any")),
        }
    }

    /// What the rule leaves of the images that it is about.
    fn keeps(&self, place: &str) -> Result<Keeps, String> {
        let place = format!("{place}.selection");
        if self.count_number == 0 {
            return Err(format!("{place}.countNumber: must be at least 1"));
        }
        let days = || match self.count_unit.as_deref() {
            // A span that no clock here holds is as good as for ever.
            Some("days") => Ok(self.count_number.min(36_500_000) * DAY),
            other => Err(format!("{place}.countUnit: {:?} is not known; ECR has days", other.unwrap_or_default())),
        };
        match self.count_type.as_str() {
            "imageCountMoreThan" if self.count_unit.is_some() => {
                Err(format!("{place}.countUnit: a count of images has none"))
            }
            "imageCountMoreThan" => Ok(Keeps::MostRecentlyPushed(self.count_number)),
            "sinceImagePushed" => days().map(Keeps::PushedWithin),
            "sinceImagePulled" => days().map(Keeps::PulledWithin),
            other => Err(format!(
                "{place}.countType: {other:?} is not known; ECR has imageCountMoreThan, sinceImagePushed and sinceImagePulled"
            )),
        }
    }
}

/// The rule that keeps what rule `at` leaves.
fn keep(rules: &[Read], at: usize, translation: &mut Translation) -> Option<KeepDraft> {
    let rule = rules.get(at)?;
    let mut tags = rule.images.tags();
    if tags.is_empty() {
        return None;
    }
    let earlier = rules.iter().take(at).filter(|earlier| earlier.keeps != Keeps::Always);
    let overlapping: Vec<&Read> = earlier.filter(|earlier| overlap(&earlier.images, &rule.images)).collect();
    if !overlapping.is_empty() {
        if let Some(others) = apart(rule, &overlapping) {
            tags = vec![others];
        } else {
            let places: Vec<&str> = overlapping.iter().map(|rule| rule.place.as_str()).collect();
            let words = format!(
                "what {} may match too is left to that in ECR; here it stays if either keeps it",
                places.join(" or ")
            );
            translation.remark(&rule.place, words);
        }
    }
    if rule.keeps.is_rank() {
        remark_on_first_pushes(&rule.place, "ECR", translation);
    }
    if rule.images == Images::All && rule.keeps.is_rank() {
        translation.remark(&rule.place, "images without a tag take no places here: more of the others may stay");
    }
    Some(KeepDraft { name: rule.name.clone(), tags, keeps: vec![rule.keeps.clone()] })
}

fn overlap(one: &Images, other: &Images) -> bool {
    one.tags().iter().any(|one| other.tags().iter().any(|other| may_overlap(one, other)))
}

/// A pattern of all tags that the rules before do not match, for a rule about all. One that counts has to count those too.
fn apart(rule: &Read, earlier: &[&Read]) -> Option<String> {
    if rule.keeps.is_rank() || rule.images.tags() != ["*"] {
        return None;
    }
    let globs = earlier.iter().flat_map(|rule| rule.images.tags());
    let words: Option<Vec<Word>> = globs.map(|glob| Word::of_glob(&glob)).collect();
    everything_but(&words?)
}

/// What becomes of images without a tag: what the first rule about them says.
fn untagged(rules: &[Read], translation: &mut Translation) -> UntaggedDraft {
    let Some(rule) = rules.iter().find(|rule| rule.images.has_untagged()) else {
        let words = "none is about images without a tag: here they stay, those too that a run takes the last tag from, and \
                     such a run frees nothing until untagged.action is Delete";
        translation.remark("rules", words);
        return UntaggedDraft::Keep;
    };
    match rule.keeps {
        Keeps::Always => UntaggedDraft::Keep,
        Keeps::PushedWithin(seconds) => {
            translation
                .remark(&rule.place, "for images without a tag the time counts from when they lost the last one");
            UntaggedDraft::DeleteAfter(seconds)
        }
        Keeps::PulledWithin(seconds) => {
            let words =
                "for images without a tag the time counts from when they lost the last one, and pulls do not count";
            translation.remark(&rule.place, words);
            UntaggedDraft::DeleteAfter(seconds)
        }
        Keeps::MostRecentlyPushed(_) | Keeps::MostRecentlyPulled(_) => {
            translation.remark(&rule.place, "images without a tag cannot be counted here: all of them stay");
            UntaggedDraft::Keep
        }
    }
}

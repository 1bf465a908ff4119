//! Which tags a pattern leaves, and whether two may match the same one.

use std::collections::BTreeMap;

/// The longest pattern that a policy takes, in bytes.
const MAX_PATTERN: usize = 256;

/// A word, or all words that begin with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) is_prefix: bool,
}

impl Word {
    /// What a glob is that has no other special characters than a `*` at its end.
    pub(super) fn of_glob(glob: &str) -> Option<Self> {
        let text = glob.trim_end_matches('*');
        text.chars().all(is_of_tag).then(|| Self { text: text.to_owned(), is_prefix: text.len() < glob.len() })
    }
}

/// Whether a tag may have this character.
pub(super) fn is_of_tag(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// A pattern of all tags but these words; `None` where it would be too long, or match nothing.
pub(super) fn everything_but(words: &[Word]) -> Option<String> {
    let mut root = Node::default();
    for word in words {
        root.add(&word.text, word.is_prefix);
    }
    let pattern = format!("regex:{}", root.rest()?);
    (pattern.len() <= MAX_PATTERN).then_some(pattern)
}

/// What is known of the texts that begin in the same way.
#[derive(Debug, Default)]
struct Node {
    next: BTreeMap<char, Self>,
    is_word: bool,
    is_prefix: bool,
}

impl Node {
    fn add(&mut self, text: &str, is_prefix: bool) {
        let mut node = self;
        for c in text.chars() {
            node = node.next.entry(c).or_default();
        }
        node.is_word = true;
        node.is_prefix |= is_prefix;
    }

    /// An expression of how a text may go on from here; `None`: not at all.
    fn rest(&self) -> Option<String> {
        if self.is_prefix {
            return None;
        }
        if self.next.is_empty() {
            // After a whole word at least one more character.
            return Some(if self.is_word { ".+" } else { ".*" }.to_owned());
        }
        let others: String = self.next.keys().map(|c| escaped(*c)).collect();
        let mut ways = vec![format!("[^{others}].*")];
        ways.extend(self.next.iter().filter_map(|(c, node)| Some(format!("{}{}", escaped(*c), node.rest()?))));
        let end = if self.is_word { "" } else { "?" };
        Some(format!("(?:{}){end}", ways.join("|")))
    }
}

fn escaped(c: char) -> String {
    if matches!(c, '.' | '-') { format!("\\{c}") } else { c.to_string() }
}

/// Whether a text may match two globs that have no other special character than `*`.
pub(super) fn may_overlap(one: &str, other: &str) -> bool {
    let (one_begin, one_end) = ends(one);
    let (other_begin, other_end) = ends(other);
    let begins = one_begin.starts_with(other_begin) || other_begin.starts_with(one_begin);
    let finishes = one_end.ends_with(other_end) || other_end.ends_with(one_end);
    let is_whole = |glob: &str| !glob.contains('*');
    let same = !(is_whole(one) && is_whole(other)) || one == other;
    begins && finishes && same
}

/// What stands before the first `*`, and after the last one.
fn ends(glob: &str) -> (&str, &str) {
    let begin = glob.split('*').next().unwrap_or_default();
    (begin, glob.rsplit('*').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::retention::TagPatterns;

    use super::*;

    #[test]
    fn everything_but_some_words_is_everything_else() {
        let tags =
            ["v", "v1", "v1.2", "prod", "prod-1", "pro", "p", "latest", "late", "latest-1", "x", "1", "dev.1", "_"];
        for globs in [
            &["prod*"][..],
            &["v*"],
            &["latest"],
            &["v*", "prod*", "latest"],
            &["prod-*", "prod"],
            &["v1*"],
            &["dev.*"],
        ] {
            let words: Vec<Word> = globs.iter().map(|glob| Word::of_glob(glob).unwrap()).collect();
            let pattern = everything_but(&words).unwrap();
            let rest = TagPatterns::new(std::slice::from_ref(&pattern)).unwrap();
            let named = TagPatterns::new(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>()).unwrap();
            for tag in tags {
                let tag = tag.parse().unwrap();
                assert_ne!(rest.matches(&tag), named.matches(&tag), "{tag} of {globs:?} by {pattern}");
            }
        }
    }

    #[test]
    fn what_is_left_of_everything_is_no_pattern() {
        assert_eq!(everything_but(&[Word::of_glob("*").unwrap()]), None);
        assert_eq!(everything_but(&[Word { text: "long".repeat(60), is_prefix: true }]), None);
        assert_eq!(Word::of_glob("a*b"), None);
        assert_eq!(Word::of_glob("v?"), None);
    }

    #[test]
    fn globs_overlap_unless_their_ends_tell_them_apart() {
        for (one, other, overlap) in [
            ("prod*", "beta*", false),
            ("prod*", "prod-1*", true),
            ("*", "beta*", true),
            ("*-a", "*-b", false),
            ("*-a", "x*", true),
            ("v1", "v1", true),
            ("v1", "v1.2", false),
            ("v1", "v*", true),
        ] {
            assert_eq!(may_overlap(one, other), overlap, "{one} {other}");
            assert_eq!(may_overlap(other, one), overlap, "{other} {one}");
        }
    }
}

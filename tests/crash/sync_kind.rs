//! The syncs that the registry makes, by what they are for.

use super::step::{Step, Sync};

/// For each step that begins a sync, its kind: the call, and what it makes durable.
pub(crate) fn kinds(steps: &[Step]) -> Vec<Option<String>> {
    let kind = |at: usize, step: &Step| match step {
        Step::SyncBegin { kind: Sync::FileSystem, .. } => Some("syncfs".to_owned()),
        Step::SyncBegin { path, kind: Sync::Everything, .. } => Some(format!("fsync {}", pattern(path))),
        Step::SyncBegin { path, kind: Sync::Data, .. } => {
            Some(format!("fdatasync {}", pattern(destination(path, &steps[at..]).unwrap_or(path))))
        }
        _ => None,
    };
    steps.iter().enumerate().map(|(at, step)| kind(at, step)).collect()
}

/// Where a file goes that is still being prepared.
fn destination<'a>(path: &str, later: &'a [Step]) -> Option<&'a str> {
    later.iter().find_map(|step| match step {
        Step::Rename { from, to } if from == path => Some(to.as_str()),
        _ => None,
    })
}

/// A path without what is another in each store.
fn pattern(path: &str) -> String {
    let path = path.strip_prefix("data").map_or(path, |rest| rest.trim_start_matches('/'));
    let path = path.replace("docker/registry/v2", "…");
    let mut words: Vec<String> = Vec::new();
    for name in path.split('/') {
        let last = words.last().map_or("", String::as_str);
        let is_in = |folder: &str| words.iter().any(|word| word == folder);
        let is_in_name = ["repositories", "facts", "referrers", "trash"].into_iter().any(is_in)
            && !words.iter().any(|word| word.starts_with('_'))
            && !name.starts_with('_');
        let word = match name {
            _ if is_in_name && last == "<name>" => continue,
            _ if is_in_name => "<name>",
            _ if name.len() == 64 => "<hex>",
            _ if name.starts_with("sha256:") => "<digest>",
            _ if name.len() == 36 && name.contains('-') => "<upload>",
            _ if name.len() == 26 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) => "<id>",
            _ if name.len() == 2 && last == "sha256" => "<2>",
            _ if ["tags", "_g", "_n"].contains(&last) => "<tag>",
            _ if last == "staging" || last == "sha256" => "<number>",
            name => name,
        };
        words.push(word.to_owned());
    }
    let text = words.join("/");
    if text.is_empty() { "the root".to_owned() } else { text }
}

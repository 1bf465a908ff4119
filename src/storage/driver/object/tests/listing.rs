//! Lists by servers that go on in one way or another, or in none.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use object_store::{
    ListResult, ObjectMeta, Result,
    list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore},
    path::Path,
};

use crate::storage::driver::Error;

use super::*;

/// A server that lists what it has.
#[derive(Debug)]
struct Server {
    keys: Vec<String>,
    /// The longest page that it gives.
    longest: usize,
    /// Whether it says how to go on.
    has_tokens: bool,
    /// Whether it can begin behind a key.
    has_offsets: bool,
}

impl Server {
    fn of(keys: impl IntoIterator<Item = String>) -> Self {
        Self { keys: keys.into_iter().collect(), longest: 1_000, has_tokens: true, has_offsets: true }
    }
}

#[async_trait]
impl PaginatedListStore for Server {
    async fn list_paginated(&self, prefix: Option<&str>, options: PaginatedListOptions) -> Result<PaginatedListResult> {
        let prefix = prefix.unwrap_or_default();
        let from = options.page_token.clone().or_else(|| options.offset.clone().filter(|_| self.has_offsets));
        let named = self.keys.iter().filter_map(|key| {
            let rest = key.strip_prefix(prefix)?;
            let folder = rest.split_once('/').filter(|_| options.delimiter.is_some());
            Some(folder.map_or_else(|| key.clone(), |(name, _)| format!("{prefix}{name}/")))
        });
        let named: BTreeSet<String> = named.filter(|key| from.as_ref().is_none_or(|from| key > from)).collect();
        let room = options.max_keys.unwrap_or(usize::MAX).min(self.longest);
        let page: Vec<&String> = named.iter().take(room).collect();
        let page_token = page.last().filter(|_| self.has_tokens && named.len() > page.len()).map(|key| (*key).clone());
        let (folders, files): (Vec<&&String>, Vec<_>) = page.iter().partition(|key| key.ends_with('/'));
        let object = |key: &&&String| ObjectMeta {
            location: Path::from(key.as_str()),
            last_modified: Timestamp::UNIX_EPOCH.to_string().parse().unwrap(),
            size: 1,
            e_tag: None,
            version: None,
        };
        let result = ListResult {
            common_prefixes: folders.iter().map(|key| Path::from(key.trim_end_matches('/'))).collect(),
            objects: files.iter().map(object).collect(),
            extensions: http::Extensions::default(),
        };
        Ok(PaginatedListResult { result, page_token })
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:05}")).collect()
}

/// Files of these names, but for every third name, which is a folder's.
fn keys(count: usize) -> impl Iterator<Item = String> {
    names(count).into_iter().enumerate().flat_map(|(number, name)| match number % 3 {
        0 => vec![format!("folder/{name}/a"), format!("folder/{name}/b")],
        _ => vec![format!("folder/{name}")],
    })
}

fn bucket(server: Server) -> Bucket {
    Bucket::new(Arc::new(Watched::default()), Some(Arc::new(server)), None, None, None)
}

async fn listed(server: Server, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
    let entries = bucket(server).list(&"folder".parse().unwrap(), after, limit).await?;
    Ok(entries.into_iter().map(|entry| entry.name).collect())
}

#[tokio::test]
async fn a_list_of_many_pages_is_whole() {
    let all = names(50);
    let short = || Server { longest: 4, ..Server::of(keys(50)) };
    assert_eq!(listed(short(), None, usize::MAX).await.unwrap(), all);
    assert_eq!(listed(short(), None, 3).await.unwrap(), all[..3]);
    assert_eq!(listed(short(), Some("00003"), 7).await.unwrap(), all[4..11]);
    assert_eq!(bucket(short()).tree(&"folder".parse().unwrap()).await.unwrap().len(), 67);
}

#[tokio::test]
async fn a_list_that_does_not_say_how_to_go_on_is_asked_for_with_more_room() {
    let all = names(50);
    for has_offsets in [true, false] {
        let silent = || Server { has_tokens: false, has_offsets, ..Server::of(keys(50)) };
        assert_eq!(listed(silent(), None, 3).await.unwrap(), all[..3]);
        assert_eq!(listed(silent(), None, 49).await.unwrap(), all[..49]);
        assert_eq!(listed(silent(), None, 50).await.unwrap(), all);
        assert_eq!(listed(silent(), None, usize::MAX).await.unwrap(), all);
    }
    let silent = || Server { has_tokens: false, longest: 2_000, ..Server::of(keys(1_000)) };
    assert_eq!(listed(silent(), None, usize::MAX).await.unwrap(), names(1_000), "as many as fill a page");
    assert_eq!(bucket(silent()).tree(&"folder".parse().unwrap()).await.unwrap().len(), 1_334);
}

#[tokio::test]
async fn a_list_that_is_cut_short_is_gone_on_with_behind_its_last_key() {
    let cut = || Server { has_tokens: false, ..Server::of(keys(2_500)) };
    let all = names(2_500);
    assert_eq!(listed(cut(), None, usize::MAX).await.unwrap(), all);
    assert_eq!(bucket(cut()).tree(&"folder".parse().unwrap()).await.unwrap().len(), 3_334);
    // A folder comes again behind its own name, so that a page has one name less.
    assert_eq!(listed(cut(), Some("00003"), 1_000).await.unwrap(), all[4..1_004]);
    let short = || Server { has_tokens: false, longest: 10, ..Server::of(keys(50)) };
    assert_eq!(listed(short(), None, 9).await.unwrap(), names(50)[..9]);
}

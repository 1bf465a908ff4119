//! The parsers of this layer, as `fuzz/` calls them, and all the targets that there are: whatever the bytes, no panic, and
//! what was accepted is what it says.

use hyper::{HeaderMap, Method, header::RANGE};

use crate::oci::{self, Algorithm, Digest};
use crate::storage;

use super::{
    conditional,
    htpasswd::Htpasswd,
    page::PageRequest,
    pushed_manifest,
    query::Query,
    range::{Chunk, Requested},
    router::Route,
    token,
};

/// Each target of this layer by its name.
const TARGETS: &[crate::oci::fuzzing::Target] = &[
    ("route", route),
    ("query", query),
    ("range", range),
    ("content_range", content_range),
    ("headers", headers),
    ("pushed_manifest", pushed),
    ("token", parse_token),
    ("htpasswd", htpasswd),
];

/// Runs a target of any layer; whether there is one of that name.
#[must_use]
pub fn run(target: &str, bytes: &[u8]) -> bool {
    let mut all = oci::fuzzing::TARGETS.iter().chain(storage::fuzzing::TARGETS).chain(TARGETS);
    let found = all.find(|(name, _)| *name == target);
    if let Some((_, function)) = found {
        function(bytes);
    }
    found.is_some()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The first line is the method. A repository that a route names is one that the path names, too.
fn route(bytes: &[u8]) {
    let Some((method, path)) = text(bytes).split_once('\n') else { return };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let Ok(route) = Route::parse(&method, path) else { return };
    let _ = (route.verb(&method), route.class());
    if let Some(name) = route.repository() {
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        assert!(decoded.contains(name.as_str()), "{path} is not in {name}");
    }
}

fn query(bytes: &[u8]) {
    let query = Query::parse(Some(text(bytes)));
    let _ = (query.get("digest"), query.all("tag").count());
    if let Ok(page) = PageRequest::parse(&query) {
        assert!(page.limit <= 10_000);
    }
}

/// The first eight bytes are the content's size. A part lies within the content, and is not empty.
fn range(bytes: &[u8]) {
    let Some((size, header)) = bytes.split_first_chunk::<8>() else { return };
    let size = u64::from_be_bytes(*size);
    if let Requested::Part(part) = Requested::parse(Some(text(header)), size) {
        assert!(part.start < part.end && part.end <= size);
    }
}

fn content_range(bytes: &[u8]) {
    if let Some(chunk) = Chunk::parse(text(bytes)) {
        assert!(chunk.len > 0 && chunk.start.checked_add(chunk.len - 1).is_some());
    }
}

/// Conditions: one header a line.
fn headers(bytes: &[u8]) {
    let digest = Digest::of(Algorithm::Sha256, b"");
    let pairs = text(bytes).lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.parse::<hyper::header::HeaderName>().ok()?, value.trim().parse().ok()?))
    });
    let headers: HeaderMap = pairs.collect();
    let _ = conditional::is_held(&headers, &digest);
    assert!(conditional::range(&headers, &digest).is_none() || headers.contains_key(RANGE));
}

fn pushed(bytes: &[u8]) {
    if let Ok(manifest) = pushed_manifest::checked(None, bytes) {
        assert!(manifest.blobs().count() + manifest.children().count() <= pushed_manifest::MAX_REFERENCES);
    }
}

fn parse_token(bytes: &[u8]) {
    if let Some(Some(credentials)) = token::decode(text(bytes)) {
        assert!(!credentials.user.contains(':'));
    }
}

fn htpasswd(bytes: &[u8]) {
    let _ = Htpasswd::parse(text(bytes)).map(|users| users.costliest_hash().is_some());
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// The corpus of each target runs with every test, and each target has a corpus and a program.
    #[test]
    fn every_file_of_the_corpus_runs() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let all = oci::fuzzing::TARGETS.iter().chain(storage::fuzzing::TARGETS).chain(TARGETS);
        for (target, _) in all {
            assert!(fuzz.join("fuzz_targets").join(format!("{target}.rs")).is_file(), "{target} has no program");
            let corpus: Vec<_> = fs::read_dir(fuzz.join("corpus").join(target)).unwrap().collect();
            assert!(!corpus.is_empty(), "{target} has no corpus");
            for file in corpus {
                assert!(run(target, &fs::read(file.unwrap().path()).unwrap()));
            }
        }
        assert!(!run("nothing", b""));
    }

    /// How often each file is changed at random, where the environment does not say `LAGAN_FUZZ_ROUNDS`.
    const ROUNDS: u64 = 500;

    #[test]
    fn changed_files_of_the_corpus_run() {
        let rounds = std::env::var("LAGAN_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let all = oci::fuzzing::TARGETS.iter().chain(storage::fuzzing::TARGETS).chain(TARGETS);
        for (target, function) in all {
            let files = fs::read_dir(corpus.join(target)).unwrap();
            let seeds: Vec<Vec<u8>> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
            let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
            for seed in &seeds {
                for _ in 0..rounds {
                    let other = &seeds[random.below(seeds.len())];
                    function(&changed(seed, other, &mut random));
                }
            }
        }
    }

    /// A few changes of the kinds that break parsers: bytes, lengths, order, and parts of another file.
    fn changed(seed: &[u8], other: &[u8], random: &mut Xorshift) -> Vec<u8> {
        const TELLING: &[u8] = b"\0\x7f\xff\xc3 \n\"'\\{}[],:;/.%+-_@=09azAZ";
        let mut bytes = seed.to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() + 1);
            match random.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
                2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                4 => bytes.extend_from_slice(&other[random.below(other.len() + 1)..]),
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes
    }

    /// The same numbers each time (Marsaglia, *Xorshift RNGs*).
    struct Xorshift(u64);

    impl Xorshift {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % end.max(1) as u64).unwrap()
        }
    }
}

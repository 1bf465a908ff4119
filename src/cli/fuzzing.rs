//! All parsers, as `fuzz/` calls them, with those of this layer: whatever the bytes, no panic, and what was accepted is what
//! it says.

use crate::http;
use crate::oci::{self, fuzzing::Target};
use crate::storage;

use super::import;

fn all() -> impl Iterator<Item = &'static Target> {
    let below = oci::fuzzing::TARGETS.iter().chain(storage::fuzzing::TARGETS).chain(http::fuzzing::TARGETS);
    below.chain(import::FUZZ_TARGETS)
}

/// Runs a target of any layer; whether there is one of that name.
#[must_use]
pub fn run(target: &str, bytes: &[u8]) -> bool {
    let found = all().find(|(name, _)| *name == target);
    if let Some((_, function)) = found {
        function(bytes);
    }
    found.is_some()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// The corpus of each target runs with every test, and each target has a corpus and a program.
    #[test]
    fn every_file_of_the_corpus_runs() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        for (target, _) in all() {
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
        for (target, function) in all() {
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

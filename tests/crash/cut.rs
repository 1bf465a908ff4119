//! What a power cut may leave.

use std::collections::HashSet;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    disk::{Content, Disk, Survives},
    tree::Tree,
};

/// Everything that may be found after a cut now: what is not durable lost, or there, or some of it, in any order.
pub(crate) fn survivors(disk: &Disk, seeds: u64, salt: u64) -> Vec<Tree> {
    let none = |_: usize, _: &_| Survives::Nothing;
    let all = |_: usize, _: &_| Survives::All;
    let mut found = vec![
        disk.after_cut(all, |_, _| Content::All),
        disk.after_cut(none, |_, _| Content::Nothing),
        // Names before content, as some file systems write them; and the other way round.
        disk.after_cut(all, |_, _| Content::Nothing),
        disk.after_cut(none, |_, _| Content::All),
        disk.after_cut(all, |_, _| Content::Zeros),
        disk.after_cut(all, |_, _| Content::Torn),
        // The newest change of a name alone, and all but the newest.
        disk.after_cut(
            |at, _| if at + 1 == disk.names.len() { Survives::All } else { Survives::Nothing },
            |_, _| Content::All,
        ),
        disk.after_cut(
            |at, _| if at + 1 == disk.names.len() { Survives::Nothing } else { Survives::All },
            |_, _| Content::All,
        ),
        disk.after_cut(
            |_, change| if change.is_rename() { Survives::NewName } else { Survives::All },
            |_, _| Content::All,
        ),
    ];
    for seed in 0..seeds {
        let mut of_names = StdRng::seed_from_u64(salt.wrapping_mul(1_000_003).wrapping_add(seed));
        let mut of_content = StdRng::seed_from_u64(of_names.random());
        let names = |_: usize, change: &super::disk::NameChange| match of_names.random_range(0..5) {
            0 | 1 => Survives::Nothing,
            2 if change.is_rename() => Survives::NewName,
            _ => Survives::All,
        };
        found.push(disk.after_cut(names, |_, file| match of_content.random_range(0..6) {
            0 => Content::Nothing,
            1 => Content::Torn,
            2 => Content::Zeros,
            3 => Content::First(of_content.random_range(0..=file.pending.len())),
            _ => Content::All,
        }));
    }
    let mut seen = HashSet::new();
    found.retain(|tree| seen.insert(tree.fingerprint()));
    found
}

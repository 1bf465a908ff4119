//! Whether passwords are right, without giving every core to those who guess.

use std::{fmt, net::IpAddr, ops::Range, time::Duration};

use bcrypt::HashParts;
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::{Error, htpasswd::Htpasswd, turns::Turns};

/// How long a password that was right is right without another look. bcrypt takes about 50 ms of a core, and a pull
/// of an image with 40 layers asks 42 times. A password that was changed is forgotten at once, because its hash is part
/// of what is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// How long one that was wrong is wrong without another look: a job with an old password tries it again and again.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// How many passwords of each kind are remembered; some 100 bytes each.
const REMEMBERED: u64 = 10_000;

/// How many passwords are checked at once, so that guessing does not take every core from those who are in.
const CHECKS_AT_ONCE: usize = 2;

/// How long a check waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// How many bytes of a password bcrypt looks at. Whatever follows would be right.
const LONGEST_PASSWORD: usize = 72;

/// Takes the place of a hash where there are no users at all: cost 10, of a password that nobody has.
const NOBODY: &str = "$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// For whom a password is tried, and from where. Unknown users are one lane, so that inventing names opens no others.
type Lane = (Option<Box<str>>, IpAddr);

/// A user and a password as they were sent.
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Checks passwords, and remembers which were right and which wrong, each as a hash with a salt of this process.
#[derive(Debug)]
pub(super) struct PasswordChecks {
    right: Cache<[u8; 32], ()>,
    wrong: Cache<[u8; 32], ()>,
    /// Makes what is remembered useless to whoever reads this process's memory only in part.
    salt: [u8; 32],
    turns: Turns<Lane>,
}

impl PasswordChecks {
    pub(super) fn new() -> Self {
        let remembered = |time| Cache::builder().max_capacity(REMEMBERED).time_to_live(time).build();
        Self {
            right: remembered(REMEMBERED_FOR),
            wrong: remembered(REFUSED_FOR),
            salt: rand::random(),
            turns: Turns::new(CHECKS_AT_ONCE),
        }
    }

    /// Whether a user has this password.
    ///
    /// # Errors
    /// [`Error::AuthenticationBusy`] where it had to wait for too long.
    pub(super) async fn is_right(
        &self,
        users: &Htpasswd,
        credentials: Credentials,
        from: IpAddr,
    ) -> Result<bool, Error> {
        let Credentials { user, password } = credentials;
        if password.len() > LONGEST_PASSWORD {
            return Ok(false);
        }
        // Unknown users take as long as known ones, so that time does not tell who exists.
        let known = users.hash(&user);
        let hash = known.or_else(|| users.costliest_hash()).unwrap_or(NOBODY).to_owned();
        let highest_cost = users.highest_cost();
        let key = self.key(&user, &password, &hash);
        if let Some(right) = self.remembered(&key) {
            return Ok(right);
        }
        let busy = || Error::AuthenticationBusy;
        let is_known = known.is_some();
        let lane = (is_known.then(|| user.into()), from);
        let _turn = timeout(TURN_TIMEOUT, self.turns.take(lane)).await.map_err(|_| busy())?;
        // The same may have been checked meanwhile: a client that sends ten requests at once waits for one check.
        if let Some(right) = self.remembered(&key) {
            return Ok(right);
        }
        let check = tokio::task::spawn_blocking(move || check(&password, &hash, highest_cost));
        let right = check.await.map_err(|_| busy())? && is_known;
        if right {
            self.right.insert(key, ());
        } else {
            self.wrong.insert(key, ());
        }
        Ok(right)
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<bool> {
        if self.right.contains_key(key) {
            return Some(true);
        }
        self.wrong.contains_key(key).then_some(false)
    }

    /// The hash is part of the key: a password that was changed is forgotten with it.
    fn key(&self, user: &str, password: &str, hash: &str) -> [u8; 32] {
        let mut key = Sha256::new();
        key.update(self.salt);
        for part in [user, password, hash] {
            key.update((part.len() as u64).to_be_bytes());
            key.update(part);
        }
        key.finalize().into()
    }
}

/// Whether a password is the hash's. Where it is not, that takes as long as with a hash of the highest cost.
fn check(password: &str, hash: &str, highest_cost: u32) -> bool {
    let right = bcrypt::verify(password, hash).unwrap_or(false);
    if !right {
        costs_to_make_up(hash, highest_cost).for_each(|cost| drop(bcrypt::hash_with_salt(password, cost, [0; 16])));
    }
    right
}

/// One step of cost is twice the time, so that of `n` and of every step from it to below `m` take together what `m` does.
fn costs_to_make_up(hash: &str, highest: u32) -> Range<u32> {
    let cost = hash.parse().map_or(highest, |parts: HashParts| parts.get_cost());
    cost..highest
}

#[cfg(test)]
mod tests {
    use futures::future;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn pair(user: &str, password: &str) -> Credentials {
        Credentials { user: user.into(), password: password.into() }
    }

    fn users(cost: u32) -> Htpasswd {
        let hash = |password: &str| bcrypt::hash(password, cost).unwrap();
        Htpasswd::parse(&format!("skipper:{}\nmate:{}\n", hash("right"), hash("other"))).unwrap()
    }

    #[test]
    fn the_stand_in_hash_is_one_that_can_be_checked() {
        assert!(!bcrypt::verify("", NOBODY).unwrap());
    }

    #[test]
    fn cheap_hashes_take_the_time_of_the_costliest() {
        let hash = bcrypt::hash("right", 5).unwrap();
        assert_eq!(costs_to_make_up(&hash, 9), 5..9);
        let steps: u32 = (1 << 5) + costs_to_make_up(&hash, 9).map(|cost| 1 << cost).sum::<u32>();
        assert_eq!(steps, 1 << 9);
        assert!(costs_to_make_up(&hash, 5).is_empty());
    }

    #[tokio::test]
    async fn what_follows_the_bytes_that_bcrypt_reads_is_not_right_either() {
        let [longest, longer] = [72, 80].map(|length| "x".repeat(length));
        let line = |user: &str, password: &str| format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap());
        let users = Htpasswd::parse(&[line("skipper", &longest), line("mate", &longer)].concat()).unwrap();
        let checks = PasswordChecks::new();
        assert!(checks.is_right(&users, pair("skipper", &longest), HERE).await.unwrap());
        for user in ["skipper", "mate"] {
            let sent = format!("{longest}WRONG");
            assert!(!checks.is_right(&users, pair(user, &sent), HERE).await.unwrap(), "{user}");
        }
    }

    #[test]
    fn a_right_password_is_not_remembered_for_another_hash() {
        let checks = PasswordChecks::new();
        let one = checks.key("a", "b", "c");
        assert_ne!(one, checks.key("a", "b", "d"));
        assert_ne!(checks.key("ab", "", "c"), checks.key("a", "b", "c"));
    }

    #[tokio::test]
    async fn an_answer_is_remembered_until_the_password_changes() {
        let checks = PasswordChecks::new();
        let (before, after) =
            (users(4), Htpasswd::parse(&format!("skipper:{}", bcrypt::hash("wrong", 4).unwrap())).unwrap());
        assert!(checks.is_right(&before, pair("skipper", "right"), HERE).await.unwrap());
        assert!(!checks.is_right(&before, pair("skipper", "wrong"), HERE).await.unwrap());
        // No turn is to be had any more: what is answered is remembered.
        let taken = (checks.turns.take((None, HERE)).await, checks.turns.take((None, HERE)).await);
        assert!(checks.is_right(&before, pair("skipper", "right"), HERE).await.unwrap());
        assert!(!checks.is_right(&before, pair("skipper", "wrong"), HERE).await.unwrap());
        drop(taken);
        assert!(!checks.is_right(&after, pair("skipper", "right"), HERE).await.unwrap());
        assert!(checks.is_right(&after, pair("skipper", "wrong"), HERE).await.unwrap());
    }

    #[tokio::test]
    async fn guesses_for_others_do_not_delay_who_is_right() {
        let (checks, users) = (PasswordChecks::new(), users(4));
        let guess = |number: usize| checks.is_right(&users, pair(&format!("stowaway{number}"), "x"), HERE);
        let guesses = future::join_all((0..64).map(guess));
        let (mut done_before, right) = (0, async { checks.is_right(&users, pair("skipper", "right"), HERE).await });
        tokio::pin!(guesses, right);
        // The guesses are in the queue before the right one comes.
        assert!(futures::poll!(&mut guesses).is_pending());
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut right => break answer,
                _ = &mut guesses => done_before += 64,
            }
        };
        assert!(answer.unwrap());
        assert_eq!(done_before, 0, "it waited for all of the guesses");
    }
}

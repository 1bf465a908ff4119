//! Files of users and bcrypt hashes, as Apache's `htpasswd -B` writes them.

use std::collections::HashMap;

use bcrypt::HashParts;

/// The highest cost that is accepted: each step doubles the time, and this one takes some seconds already.
const MAX_COST: u32 = 16;

/// Users, and what their passwords hash to.
///
/// Invariant: every hash is bcrypt's, of a cost that can be afforded.
pub(super) struct Htpasswd {
    hashes: HashMap<String, String>,
    /// The hash that costs most, and what it costs.
    costliest: Option<(u32, String)>,
}

/// Why a file is refused. Says the line, never what stands in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(super) struct HtpasswdError {
    line: usize,
    reason: &'static str,
}

impl Htpasswd {
    /// Reads a file's text. Empty lines, and those that begin with `#`, mean nothing.
    pub(super) fn parse(text: &str) -> Result<Self, HtpasswdError> {
        let mut hashes = HashMap::new();
        let mut costliest: Option<(u32, String)> = None;
        for (at, line) in text.lines().enumerate() {
            let line_error = |reason| HtpasswdError { line: at + 1, reason };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash) = line.split_once(':').ok_or_else(|| line_error("a line is written <user>:<hash>"))?;
            if user.is_empty() {
                return Err(line_error("the user's name is empty"));
            }
            let cost = cost_of(hash).map_err(line_error)?;
            if costliest.as_ref().is_none_or(|(highest, _)| cost > *highest) {
                costliest = Some((cost, hash.to_owned()));
            }
            if hashes.insert(user.to_owned(), hash.to_owned()).is_some() {
                return Err(line_error("the user stands in an earlier line, too"));
            }
        }
        Ok(Self { hashes, costliest })
    }

    /// The hash of a user's password.
    pub(super) fn hash(&self, user: &str) -> Option<&str> {
        self.hashes.get(user).map(String::as_str)
    }

    /// The hash that takes longest to check, for the time that it takes.
    pub(super) fn costliest_hash(&self) -> Option<&str> {
        self.costliest.as_ref().map(|(_, hash)| hash.as_str())
    }

    /// Its cost, or 0 where there are no users.
    pub(super) fn highest_cost(&self) -> u32 {
        self.costliest.as_ref().map_or(0, |(cost, _)| *cost)
    }
}

fn cost_of(hash: &str) -> Result<u32, &'static str> {
    if !["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) {
        return Err("only bcrypt hashes are accepted: write the line with htpasswd -B");
    }
    let parts: HashParts = hash.parse().map_err(|_| "the bcrypt hash is malformed")?;
    let cost = parts.get_cost();
    if cost > MAX_COST { Err("the bcrypt hash's cost is too high: use at most 16") } else { Ok(cost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the password `pilot`, at the lowest cost.
    fn hash() -> String {
        bcrypt::hash("pilot", 4).unwrap()
    }

    #[test]
    fn users_are_found_by_name() {
        let text = format!("# comment\n\nmate:{}\n  skipper:{}  \n", hash(), hash().replacen("$2b$", "$2y$", 1));
        let file = Htpasswd::parse(&text).unwrap();
        assert!(bcrypt::verify("pilot", file.hash("skipper").unwrap()).unwrap());
        assert!(file.hash("mate").is_some());
        assert!(file.hash("stowaway").is_none());
    }

    #[test]
    fn anything_but_bcrypt_is_refused_with_its_line() {
        let bad = ["skipper", ":x", "skipper:", "a:$apr1$x$y", "a:{SHA}x", "a:plain", "a:$2b$04$short"];
        for line in bad {
            let error = Htpasswd::parse(&format!("mate:{}\n\n{line}", hash())).err().unwrap();
            assert_eq!(error.line, 3, "{line}");
            assert!(!error.to_string().contains("plain"));
        }
    }

    #[test]
    fn the_costliest_hash_is_found_in_any_order() {
        let [cheap, dear] = [4, 6].map(|cost| bcrypt::hash("pilot", cost).unwrap());
        for text in [format!("mate:{cheap}\nskipper:{dear}\n"), format!("skipper:{dear}\nmate:{cheap}\n")] {
            let file = Htpasswd::parse(&text).unwrap();
            assert_eq!((file.costliest_hash(), file.highest_cost()), (Some(dear.as_str()), 6));
        }
        assert_eq!(Htpasswd::parse("").unwrap().highest_cost(), 0);
    }

    #[test]
    fn a_user_stands_in_one_line_only() {
        let text = format!("mate:{}\nmate:{}", hash(), hash());
        assert_eq!(Htpasswd::parse(&text).err().unwrap().line, 2);
    }

    #[test]
    fn a_cost_that_would_take_minutes_is_refused() {
        let costly = hash().replacen("$04$", "$20$", 1);
        assert!(Htpasswd::parse(&format!("mate:{costly}")).is_err());
    }
}

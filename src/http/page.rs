//! Lists in parts.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Malformed, query::Query};

/// The most entries of one page, whatever is asked for: some hundred KiB of names.
const MAX_PAGE: usize = 10_000;

/// Which part of a list is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageRequest<'a> {
    /// At most so many entries.
    pub(super) limit: usize,
    /// Those that sort after this text.
    pub(super) after: Option<&'a str>,
}

impl<'a> PageRequest<'a> {
    /// Reads `n` and `last`. Without `n`, a page is as long as pages get.
    ///
    /// # Errors
    /// Where `n` is no whole number.
    pub(super) fn parse(query: &'a Query) -> Result<Self, Malformed> {
        let limit = match query.get("n") {
            None => MAX_PAGE,
            Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().unwrap_or(MAX_PAGE).min(MAX_PAGE)
            }
            Some(_) => return Err(Malformed::PageSize),
        };
        Ok(Self { limit, after: query.get("last") })
    }

    /// The `Link` header to the page after `last` (RFC 8288).
    pub(super) fn link(&self, path: &str, last: &str) -> String {
        let last = utf8_percent_encode(last, NON_ALPHANUMERIC);
        format!("<{path}?n={}&last={last}>; rel=\"next\"", self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_whatever_is_asked_for() {
        let limit = |text: &str| PageRequest::parse(&Query::parse(Some(text))).map(|page| page.limit).ok();
        assert_eq!(limit("n=0"), Some(0));
        assert_eq!(limit("n=7"), Some(7));
        assert_eq!(limit(""), Some(MAX_PAGE));
        assert_eq!(limit("n=99999999999999999999999"), Some(MAX_PAGE));
        for bad in ["n=-1", "n=1.5", "n=many", "n=%201"] {
            assert_eq!(limit(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_link_goes_on_after_the_last_entry() {
        let query = Query::parse(Some("n=2"));
        let page = PageRequest::parse(&query).unwrap();
        assert_eq!(page.link("/v2/_catalog", "team/app"), "</v2/_catalog?n=2&last=team%2Fapp>; rel=\"next\"");
    }
}

//! A blob on its way from the source, whose connection may break.

use bytes::Bytes;
use reqwest::{Response, StatusCode, header::CONTENT_RANGE};

use crate::oci::{Digest, RepositoryName};

use super::{failure::Failure, retry::Patience, source::Source};

/// A blob's bytes, in order. Where a connection breaks another one goes on, as often as bytes come of it.
///
/// Nothing is verified here: who takes the bytes hashes them.
pub(super) struct BlobStream {
    source: Source,
    name: RepositoryName,
    digest: Digest,
    answer: Option<Response>,
    /// The number of the next byte.
    position: u64,
    /// How many bytes of the answer come before that one.
    surplus: u64,
    /// Of the whole blob, once a source has said.
    size: Option<u64>,
    patience: Patience,
}

impl BlobStream {
    /// The bytes from number `from` on; nothing is asked for yet.
    pub(super) fn new(source: Source, name: RepositoryName, digest: Digest, from: u64, size: Option<u64>) -> Self {
        let patience = Patience::default();
        Self { source, name, digest, answer: None, position: from, surplus: 0, size, patience }
    }

    /// How long the whole blob is, as the source says it; asks for it if that is not known yet.
    ///
    /// # Errors
    /// [`Failure`], after as many attempts as it makes sense to make.
    pub(super) async fn size(&mut self) -> Result<Option<u64>, Failure> {
        if self.size.is_none() && self.answer.is_none() {
            self.connect().await?;
        }
        Ok(self.size)
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`Failure`], after as many attempts as it makes sense to make.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if self.size.is_some_and(|size| self.position >= size) {
                return Ok(None);
            }
            self.connect().await?;
            let Some(answer) = &mut self.answer else { continue };
            let broken = match answer.chunk().await {
                Ok(Some(piece)) => match self.passed(piece) {
                    Some(piece) => return Ok(Some(piece)),
                    None => continue,
                },
                Ok(None) if self.size.is_none() => return Ok(None),
                Ok(None) => Failure::Connection { what: self.what(), reason: "the source sent too little".to_owned() },
                Err(error) => Failure::connection(&self.what(), &error),
            };
            self.answer = None;
            self.patience.after(broken).await?;
        }
    }

    /// A piece without what came before.
    fn passed(&mut self, mut piece: Bytes) -> Option<Bytes> {
        let known = usize::try_from(self.surplus).unwrap_or(usize::MAX).min(piece.len());
        self.surplus -= known as u64;
        let piece = piece.split_off(known);
        if piece.is_empty() {
            return None;
        }
        self.position += piece.len() as u64;
        self.patience.renew();
        Some(piece)
    }

    /// Sees to it that there is an answer to read from.
    async fn connect(&mut self) -> Result<(), Failure> {
        while self.answer.is_none() {
            match self.source.blob(&self.name, &self.digest, self.position).await {
                Ok(answer) => self.take(answer)?,
                Err(failure) if failure.is_break() => self.patience.after(failure).await?,
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn take(&mut self, answer: Response) -> Result<(), Failure> {
        if answer.status() == StatusCode::PARTIAL_CONTENT {
            let said = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            let (first, size) = said.and_then(first_and_size).unwrap_or_default();
            if first != self.position {
                let reason =
                    format!("the source was asked for what follows byte {}, and sent another part", self.position);
                return Err(Failure::Content { what: self.what(), reason });
            }
            self.surplus = 0;
            self.size = self.size.or(size);
        } else {
            self.surplus = self.position;
            self.size = self.size.or(answer.content_length());
        }
        self.answer = Some(answer);
        Ok(())
    }

    fn what(&self) -> String {
        format!("{}@{}", self.name, self.digest)
    }
}

/// The first byte and the whole size of `bytes <first>-<last>/<size>`; the size may be `*`.
fn first_and_size(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, size.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_say_where_they_begin() {
        assert_eq!(first_and_size("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(first_and_size("bytes 5-9/*"), Some((5, None)));
        for wrong in ["", "bytes */10", "bytes 5/10", "lines 5-9/10"] {
            assert_eq!(first_and_size(wrong), None, "{wrong}");
        }
    }
}

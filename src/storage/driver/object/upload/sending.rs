//! Taking bytes in, and sending them on in parts.

use bytes::Bytes;
use tokio::task::JoinSet;
use tracing::warn;

use crate::storage::driver::{Error, object::fault::broken};

use super::{
    Buffer, StagedObject, Tail,
    state::{Folder, Marker, Parts, State, in_folder},
};

/// A part on its way. The budget gets its bytes back when it has arrived, whether or not somebody looks.
#[derive(Debug)]
pub(super) struct Sending {
    length: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Has one task, whose end is what the store calls the part, or the error and the bytes.
    Running(JoinSet<Result<String, (Error, Buffer)>>),
    /// It failed, and is sent again by whoever needs it to have arrived.
    Failed(Buffer),
}

impl Sending {
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Ends it, so that nothing arrives later.
    pub(super) async fn abandon(self) {
        if let Stage::Running(mut task) = self.stage {
            task.shutdown().await;
        }
    }
}

impl StagedObject {
    /// Adds bytes to the buffer, which is here, and sends it on whenever it is full and more comes.
    pub(super) async fn take_in(&mut self, mut chunk: Bytes) -> Result<(), Error> {
        while !chunk.is_empty() {
            let size = self.part_size()?;
            let filled = self.tail_bytes();
            if filled >= size {
                self.send_part().await?;
                continue;
            }
            let fits = chunk.len().min(size - filled);
            self.make_room(fits, size).await?;
            if let Tail::Here(buffer) = &mut self.tail {
                buffer.push(chunk.split_to(fits));
            }
        }
        Ok(())
    }

    /// The size of the part that is being gathered.
    fn part_size(&self) -> Result<usize, Error> {
        let number = self.state.sent_parts() + usize::from(self.sending.is_some());
        let size = self.shared.sizes.part(number);
        size.ok_or_else(|| broken("append to", &self.at.folder, "it has as many parts as there can be"))
    }

    /// Gets `more` bytes of the budget for the buffer, which is of at most `size` bytes. What is not free at once is
    /// waited for with nothing held (see [`budget`](crate::storage::driver::object::budget)).
    async fn make_room(&mut self, more: usize, size: usize) -> Result<(), Error> {
        let needed = self.tail_bytes() + more;
        if let Tail::Here(buffer) = &mut self.tail {
            if buffer.reservation.is_none() {
                buffer.reservation = self.shared.budget.begin();
            }
            if buffer.reservation.as_mut().is_some_and(|held| held.grow(needed, size)) {
                return Ok(());
            }
        }
        // With nothing in the buffer, there is nothing to leave with the store.
        if self.tail_bytes() > 0 {
            self.put_aside().await?;
        } else {
            self.settle().await?;
            self.tail = Tail::Here(Buffer::default());
        }
        self.recall_with(size).await
    }

    /// Lets others have the budget that this has held for long, without getting far.
    pub(super) async fn give_way(&mut self) -> Result<(), Error> {
        let is_over = match &mut self.tail {
            Tail::Here(buffer) => {
                buffer.reservation.as_mut().is_some_and(crate::storage::driver::object::budget::Reservation::is_over)
            }
            Tail::WithTheStore => false,
        };
        if is_over { self.put_aside().await } else { Ok(()) }
    }

    /// Leaves the buffer with the store, and gives back what it had of the budget.
    pub(super) async fn put_aside(&mut self) -> Result<(), Error> {
        self.settle().await?;
        let Tail::Here(buffer) = &mut self.tail else { return Ok(()) };
        let chunks = buffer.chunks().to_vec();
        if chunks.is_empty() && self.state.sent_parts() == 0 {
            buffer.reservation = None;
            return Ok(());
        }
        self.write_state(&chunks).await?;
        self.tail = if chunks.is_empty() { Tail::Here(Buffer::default()) } else { Tail::WithTheStore };
        Ok(())
    }

    /// Gets the buffer back from the store.
    pub(super) async fn recall(&mut self) -> Result<(), Error> {
        match &self.tail {
            Tail::Here(_) => Ok(()),
            Tail::WithTheStore => {
                let size = self.part_size()?;
                self.recall_with(size).await
            }
        }
    }

    /// The same, with a reservation for a whole part, which is waited for.
    async fn recall_with(&mut self, size: usize) -> Result<(), Error> {
        // What is being sent would be held while this waits, if it had failed.
        self.settle().await?;
        let reservation = Some(self.shared.budget.wait(size).await);
        if let Tail::Here(buffer) = &mut self.tail {
            buffer.reservation = reservation;
            return Ok(());
        }
        let mut buffer = Buffer::default();
        buffer.reservation = reservation;
        let name = self.written.as_ref().map(super::StateName::text).unwrap_or_default();
        let path = in_folder(&self.at, &name)?;
        let (_, tail) = State::decode(&path, &self.bucket().get(&path).await?)?;
        buffer.push(tail);
        self.tail = Tail::Here(buffer);
        Ok(())
    }

    /// Begins to send the buffer, when the part before it has arrived.
    pub(super) async fn send_part(&mut self) -> Result<(), Error> {
        self.settle().await?;
        self.begin().await?;
        let Tail::Here(buffer) = &mut self.tail else { return Ok(()) };
        let part = std::mem::take(buffer);
        let length = part.length();
        self.sending = Some(Sending { length, stage: Stage::Failed(part) });
        self.start()
    }

    /// Sends what is to be sent.
    fn start(&mut self) -> Result<(), Error> {
        let path = self.data_path()?;
        let (Some(sending), Some(parts)) = (&mut self.sending, &self.state.parts) else { return Ok(()) };
        let Stage::Failed(part) = &mut sending.stage else { return Ok(()) };
        let part = std::mem::take(part);
        let (bucket, id, number) = (self.shared.bucket.clone(), parts.id.clone(), parts.sent.len());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let sent = bucket.put_part(&path, &id, number, part.payload()).await;
            sent.map_err(|error| (error, part))
        });
        sending.stage = Stage::Running(task);
        Ok(())
    }

    /// Waits until what is being sent has arrived; sends it again where it failed before.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        if matches!(&self.sending, Some(Sending { stage: Stage::Failed(_), .. })) {
            self.start()?;
        }
        let Some(Sending { length, stage: Stage::Running(mut task) }) = self.sending.take() else { return Ok(()) };
        match task.join_next().await {
            Some(Ok(Ok(part))) => {
                if let Some(parts) = &mut self.state.parts {
                    parts.sent.push(part);
                    parts.bytes += length as u64;
                }
                self.keep_for_a_crash().await;
                Ok(())
            }
            Some(Ok(Err((error, part)))) => {
                self.sending = Some(Sending { length, stage: Stage::Failed(part) });
                Err(error)
            }
            Some(Err(_)) | None => {
                self.is_broken = true;
                Err(broken("send a part of", &self.at.folder, "the task that sent it ended"))
            }
        }
    }

    /// Writes a state now and then, so that a process that dies loses little of a long upload.
    async fn keep_for_a_crash(&mut self) {
        if !self.state.sent_parts().is_multiple_of(self.shared.sizes.parts_between_states) {
            return;
        }
        if let Err(error) = self.write_state(&[]).await {
            warn!(path = %self.at.folder, error = &error as &dyn std::error::Error, "could not write an upload's state");
        }
    }

    /// Says that parts are sent or joined from now on, before any is; see the module.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        if self.has_begun {
            return Ok(());
        }
        let is_first = self.state.parts.is_none();
        if is_first {
            let path = in_folder(&self.at, &format!("data/{}", self.attempt))?;
            let id = self.bucket().begin_parts(&path).await?;
            self.state.parts = Some(Parts { name: self.attempt.clone(), id, sent: Vec::new(), bytes: 0 });
        }
        let id = self.state.parts.as_ref().map(|parts| parts.id.clone()).unwrap_or_default();
        let marker = Marker { path: self.data_path()?.to_string(), id };
        let path = in_folder(&self.at, &format!("attempts/{}", self.attempt))?;
        let marker = serde_json::to_vec(&marker).map_err(|error| broken("write", &path, error.to_string()))?;
        self.bucket().put(&path, marker).await?;
        self.confirm().await?;
        if !is_first {
            let folder = Folder { names: self.bucket().tree(&self.at.folder).await? };
            if folder.is_sealed() && !self.state.is_sealed {
                let reason = std::io::Error::other("another request has finished the upload");
                return Err(Error::Unavailable { action: "append to", path: self.at.folder.clone(), source: reason });
            }
        }
        self.state.attempts.push(self.attempt.clone());
        self.has_begun = true;
        Ok(())
    }
}

//! Bringing a file whose size and digest are known into the store, from the
//! first place that gives it: a download that breaks off goes on where it
//! ended, at the same server or at the next.

use formats::Digest;

use super::server::{Server, begins_at};
use super::{Location, LocationError, Place, Source, check_inside, is_cut_off, open_file};
use crate::store::{Partial, Received, Store, StoreError};

/// So much has to come before a connection that breaks again counts as new.
const PROGRESS_BYTES: u64 = 64 << 10;

/// Why a file could not be brought in.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// It could not be read.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// It is not what was announced, or cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TransferError {
    fn is_temporary(&self) -> bool {
        match self {
            Self::Location(error) => error.is_temporary(),
            Self::Store(StoreError::Source { source, .. }) => is_cut_off(source),
            // It ended without an error, too early.
            Self::Store(StoreError::Size { expected, received }) => received < expected,
            Self::Store(_) => false,
        }
    }

    /// Whether no mirror could do better.
    fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Location(LocationError::Escape { .. } | LocationError::Authority { .. })
                | Self::Store(StoreError::Io { .. } | StoreError::NoHome)
        )
    }
}

/// A file that is here.
#[derive(Debug)]
pub enum Brought {
    /// It came, and may still be refused.
    Received(Received),
    /// Another process has put it into the store meanwhile.
    There,
}

/// What happens to the bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// They were there from an earlier attempt.
    Found(u64),
    /// They came.
    Arrived(u64),
    /// They were of no use.
    Dropped(u64),
}

/// The file that is wanted.
struct Wanted<'w> {
    href: &'w str,
    size: u64,
    digest: &'w Digest,
    store: &'w Store,
    count: &'w mut dyn FnMut(Counted),
    partial: Option<Partial>,
    /// Whether all was thrown away once already.
    restarted: bool,
}

impl Location {
    /// Brings the file `href` with `size` bytes and this digest.
    pub fn bring(
        &self,
        href: &str,
        size: u64,
        digest: &Digest,
        store: &Store,
        count: &mut dyn FnMut(Counted),
    ) -> Result<Brought, TransferError> {
        check_inside(href)?;
        let mut wanted =
            Wanted { href, size, digest, store, count, partial: None, restarted: false };
        let mut errors = Vec::new();
        for place in self.0.iter() {
            match place.usable().map_err(Into::into).and_then(|()| wanted.take_from(place)) {
                Ok(brought) => return Ok(brought),
                Err(error) if error.is_ours() => return Err(error),
                Err(error) => {
                    wanted.judge(place, &error);
                    errors.push(error);
                }
            }
        }
        wanted.leave();
        Err(of_all(errors))
    }
}

/// What every place said: that the bytes were wrong weighs most.
fn of_all(mut errors: Vec<TransferError>) -> TransferError {
    let wrong = errors.iter().position(|error| matches!(error, TransferError::Store(_)));
    if let Some(index) = wrong {
        return errors.swap_remove(index);
    }
    let locations = errors.into_iter().filter_map(|error| match error {
        TransferError::Location(error) => Some(error),
        TransferError::Store(_) => None,
    });
    LocationError::of_all(locations.collect()).into()
}

impl Wanted<'_> {
    fn take_from(&mut self, place: &Place) -> Result<Brought, TransferError> {
        match &place.source {
            Source::Offline(_) => {
                Err(LocationError::Offline { address: place.address(self.href) }.into())
            }
            Source::Folder(folder) => {
                let file = open_file(folder, self.href)?;
                let mut counted = 0;
                let received = self.store.receive(file, self.size, self.digest, |bytes| {
                    counted += bytes;
                    (self.count)(Counted::Arrived(bytes));
                });
                if received.is_err() {
                    (self.count)(Counted::Dropped(counted));
                }
                Ok(Brought::Received(received?))
            }
            Source::Http(server) => self.download(server),
        }
    }

    fn judge(&self, place: &Place, error: &TransferError) {
        match error {
            TransferError::Location(error) => place.judge(error),
            TransferError::Store(_) if error.is_temporary() => place.give_up(),
            // Other bytes than announced: it may have other files all right.
            TransferError::Store(_) => {}
        }
    }

    fn download(&mut self, server: &Server) -> Result<Brought, TransferError> {
        let mut tries = server.patience().tries();
        loop {
            let Some(mut partial) = self.begin()? else {
                return Ok(Brought::There);
            };
            let before = partial.received();
            let came = self.attempt(server, &mut partial);
            if partial.received() >= before.saturating_add(PROGRESS_BYTES) {
                tries.begin_again();
            }
            let error = match came {
                Ok(()) => match self.finish(partial)? {
                    Ok(received) => return Ok(Brought::Received(received)),
                    Err(None) => continue,
                    Err(Some(error)) => error,
                },
                Err(error) => {
                    self.keep_or_forget(partial, &error)?;
                    error
                }
            };
            let asked = match &error {
                TransferError::Location(error) => error.retry_after(),
                TransferError::Store(_) => None,
            };
            if !error.is_temporary() || tries.pause(asked).is_err() {
                return Err(error);
            }
        }
    }

    /// The download as far as it has come, in this run or in an earlier one.
    fn begin(&mut self) -> Result<Option<Partial>, TransferError> {
        if let Some(partial) = self.partial.take() {
            return Ok(Some(partial));
        }
        let partial = self.store.partial(self.digest, self.size)?;
        if let Some(partial) = &partial {
            (self.count)(Counted::Found(partial.received()));
        }
        Ok(partial)
    }

    /// One request. Servers that cannot begin in the middle send everything.
    fn attempt(&mut self, server: &Server, partial: &mut Partial) -> Result<(), TransferError> {
        let from = partial.received();
        if from == self.size {
            return Ok(());
        }
        let response = match server.request(self.href, from) {
            Err(LocationError::Status { status, .. })
                if from > 0 && status == reqwest::StatusCode::RANGE_NOT_SATISFIABLE =>
            {
                server.request(self.href, 0)?
            }
            response => response?,
        };
        match begins_at(&response) {
            Some(begin) if begin == from => {}
            Some(0) => self.forget(partial)?,
            _ => {
                let address = server.address(self.href);
                return Err(LocationError::OtherRange { address }.into());
            }
        }
        let count = &mut *self.count;
        Ok(partial.append(server.steady(response), |bytes| count(Counted::Arrived(bytes)))?)
    }

    /// Whole, or worth another attempt (`None`: from the beginning, at once).
    fn finish(
        &mut self,
        partial: Partial,
    ) -> Result<Result<Received, Option<TransferError>>, TransferError> {
        let (mut partial, error) = match partial.finish() {
            Ok(received) => return Ok(Ok(received)),
            Err(failed) => failed,
        };
        match error {
            // What was there before may have been the wrong part.
            StoreError::Digest { .. } if !partial.is_of_one_piece() && !self.restarted => {
                self.restarted = true;
                self.forget(&mut partial)?;
                self.partial = Some(*partial);
                Ok(Err(None))
            }
            error => {
                let error = error.into();
                self.keep_or_forget(*partial, &error)?;
                Ok(Err(Some(error)))
            }
        }
    }

    /// Bytes that are wrong are no beginning of anything.
    fn keep_or_forget(
        &mut self,
        mut partial: Partial,
        error: &TransferError,
    ) -> Result<(), TransferError> {
        if matches!(error, TransferError::Store(_)) && !error.is_temporary() {
            self.forget(&mut partial)?;
        }
        self.partial = Some(partial);
        Ok(())
    }

    fn forget(&mut self, partial: &mut Partial) -> Result<(), TransferError> {
        (self.count)(Counted::Dropped(partial.received()));
        Ok(partial.restart()?)
    }

    /// What came stays for the next run.
    fn leave(&mut self) {
        if let Some(partial) = self.partial.take() {
            (self.count)(Counted::Dropped(partial.received()));
            if partial.received() == 0 {
                partial.discard();
            }
        }
    }
}

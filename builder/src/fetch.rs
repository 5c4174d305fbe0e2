//! Brings every package a lock names into the store, several at a time. Each
//! is checked while it arrives (size, SHA-256) and before it may stay (its
//! OpenPGP signature); what the store has and was checked is left alone.

#[doc(hidden)]
pub mod fuzzing;
mod header;
mod many;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender};

use formats::Digest;

use crate::location::{Brought, Counted, Location, LocationError, TransferError};
use crate::lock::{Lock, LockedPackage};
use crate::parallel;
use crate::progress::{Progress, Step, Unit, bytes};
use crate::recipe::Recipe;
use crate::signature::{Keyring, SignatureError};
use crate::store::{Store, StoreError};
pub use verify::{PackageFault, verify};

/// Transfers at a time: enough to hide latency, few enough for any server.
const THREADS: usize = 4;
/// Changes when what is checked changes, so that older checks do not count.
const CHECK: &str = "rpm header signature and payload digest, 1";

/// Some packages could not be brought in.
#[derive(Debug)]
pub struct FetchErrors(Vec<FetchError>);

impl FetchErrors {
    /// Each failure, by package.
    pub fn iter(&self) -> impl Iterator<Item = &FetchError> {
        self.0.iter()
    }

    /// Whether a repository does not have any more what was locked.
    #[must_use]
    pub fn any_gone(&self) -> bool {
        self.iter().any(|error| matches!(error.fault, FetchFault::Gone))
    }
}

impl std::error::Error for FetchErrors {}

/// A package could not be brought in.
#[derive(Debug, thiserror::Error)]
#[error("{package} from {address}")]
pub struct FetchError {
    /// Its name, version and architecture.
    pub package: String,
    /// URL or path.
    pub address: String,
    /// Why.
    #[source]
    pub fault: FetchFault,
}

/// Why a package could not be brought in.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    /// Its repository cannot be used.
    #[error("the keys of its repository cannot be used")]
    Keys(#[source] SignatureError),
    /// The recipe does not know its repository.
    #[error("the recipe has no repository {0:?}")]
    NoRepository(String),
    /// It is not where the lock says.
    #[error(
        "it is gone from the repository: restore the file from a mirror or a store that still has it"
    )]
    Gone,
    /// It cannot be read.
    #[error(transparent)]
    Location(LocationError),
    /// It ends early.
    #[error("it is cut off: {received} of {expected} bytes")]
    Truncated {
        /// Bytes the lock names.
        expected: u64,
        /// Bytes that came.
        received: u64,
    },
    /// It is another file than was locked.
    #[error("it is not the file that was locked ({0}): somebody has replaced it")]
    Replaced(#[source] StoreError),
    /// It cannot be kept.
    #[error(transparent)]
    Store(StoreError),
    /// It is not signed as it should be.
    #[error(transparent)]
    Package(PackageFault),
}

impl From<LocationError> for FetchFault {
    fn from(error: LocationError) -> Self {
        if error.is_missing() { Self::Gone } else { Self::Location(error) }
    }
}

impl From<TransferError> for FetchFault {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Location(error) => error.into(),
            TransferError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for FetchFault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Size { expected, received } if received < expected => {
                Self::Truncated { expected, received }
            }
            StoreError::Size { .. } | StoreError::Digest { .. } => Self::Replaced(error),
            other => Self::Store(other),
        }
    }
}

/// Where a repository's packages are and whom they are signed by.
struct Access {
    location: Location,
    keyring: Keyring,
    check: Digest,
}

/// Brings every package of `lock` into `store`, checked with the keys that
/// `recipe` has for its repository. Afterwards each is at
/// [`Store::blob_path`] of its digest.
pub fn packages(
    lock: &Lock,
    recipe: &Recipe,
    store: &Store,
    progress: &Progress,
) -> Result<(), FetchErrors> {
    packages_then(lock, recipe, store, progress, &|_| {})
}

/// As [`packages`], and has `then` go on with each package that came in, on
/// every core, while others are still on their way: a transfer mostly waits, for
/// a server or for the disk.
pub fn packages_then(
    lock: &Lock,
    recipe: &Recipe,
    store: &Store,
    progress: &Progress,
    then: &(dyn Fn(&LockedPackage) + Sync),
) -> Result<(), FetchErrors> {
    let wanted: BTreeMap<Digest, &LockedPackage> =
        lock.all_packages().map(|package| (package.sha256, package)).collect();
    let total = wanted.values().map(|package| package.size).sum();
    let step = progress.step("packages", total, Unit::Bytes);
    let job = Job {
        accesses: Mutex::new(BTreeMap::new()),
        recipe,
        store,
        step: &step,
        queue: Mutex::new(largest_first(wanted)),
        errors: Mutex::new(Vec::new()),
        received: Mutex::new(0),
    };
    let (arrived, arrivals) = std::sync::mpsc::channel();
    let arrivals = Mutex::new(arrivals);
    std::thread::scope(|scope| {
        for _ in 0..parallel::cores() {
            scope.spawn(|| {
                while let Some(package) = next(&arrivals) {
                    then(package);
                }
            });
        }
        for _ in 0..THREADS {
            let (job, arrived) = (&job, arrived.clone());
            scope.spawn(move || job.work(&arrived));
        }
        drop(arrived);
    });
    let received = *locked(&job.received);
    let mut errors = std::mem::take(&mut *locked(&job.errors));
    errors.sort_by(|a, b| a.package.cmp(&b.package));
    if !errors.is_empty() {
        return Err(FetchErrors(errors));
    }
    let count = lock.all_packages().count();
    step.outcome(format!("{count} with {}, {} received", bytes(total), bytes(received)));
    Ok(())
}

/// The last to come then do not keep everybody waiting.
fn largest_first(wanted: BTreeMap<Digest, &LockedPackage>) -> VecDeque<&LockedPackage> {
    let mut all: Vec<_> = wanted.into_values().collect();
    all.sort_by_key(|package| std::cmp::Reverse(package.size));
    all.into()
}

/// The next package that has come in; none once no more will.
fn next<'p>(arrivals: &Mutex<Receiver<&'p LockedPackage>>) -> Option<&'p LockedPackage> {
    locked(arrivals).recv().ok()
}

/// When a package came into the store.
enum Came {
    Before,
    Now,
}

/// What the threads share.
struct Job<'j> {
    accesses: Mutex<BTreeMap<String, std::sync::Arc<Access>>>,
    recipe: &'j Recipe,
    store: &'j Store,
    step: &'j Step,
    queue: Mutex<VecDeque<&'j LockedPackage>>,
    errors: Mutex<Vec<FetchError>>,
    received: Mutex<u64>,
}

/// A thread that panicked has left nothing half-done in what is shared here.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl<'j> Job<'j> {
    fn work(&self, arrived: &Sender<&'j LockedPackage>) {
        loop {
            let Some(package) = locked(&self.queue).pop_front() else {
                return;
            };
            match self.fetch(package) {
                Ok(Came::Now) => drop(arrived.send(package)),
                Ok(Came::Before) => {}
                Err(fault) => {
                    let address = self.address(package);
                    let package = package.nevra().to_string();
                    locked(&self.errors).push(FetchError { package, address, fault });
                }
            }
        }
    }

    fn address(&self, package: &LockedPackage) -> String {
        match locked(&self.accesses).get(&package.repository) {
            Some(access) => access.location.address(&package.location),
            None => package.location.clone(),
        }
    }

    fn access(&self, id: &str) -> Result<std::sync::Arc<Access>, FetchFault> {
        let mut accesses = locked(&self.accesses);
        if let Some(access) = accesses.get(id) {
            return Ok(access.clone());
        }
        let repository = self.recipe.repositories.iter().find(|one| one.id.as_str() == id);
        let repository = repository.ok_or_else(|| FetchFault::NoRepository(id.to_owned()))?;
        let keyring = Keyring::new(&repository.keys).map_err(FetchFault::Keys)?;
        let check = Digest::of_parts(&[CHECK.as_bytes(), &keyring.identity().0]);
        let location = Location::new(repository);
        let access = std::sync::Arc::new(Access { location, keyring, check });
        accesses.insert(id.to_owned(), access.clone());
        Ok(access)
    }

    fn fetch(&self, package: &LockedPackage) -> Result<Came, FetchFault> {
        let access = self.access(&package.repository)?;
        let digest = &package.sha256;
        if self.store.has(digest, package.size) {
            self.step.advance(package.size);
        } else if let Brought::Received(received) = self.receive(&access, package)? {
            if let Err(fault) = self.verify(received.path(), &access, package) {
                received.refuse();
                return Err(fault);
            }
            received.keep()?;
            self.store.note_checked(digest, &access.check)?;
            return Ok(Came::Now);
        }
        if !self.store.is_checked(digest, &access.check) {
            self.verify(&self.store.blob_path(digest), &access, package)?;
            self.store.note_checked(digest, &access.check)?;
        }
        Ok(Came::Before)
    }

    fn receive(&self, access: &Access, package: &LockedPackage) -> Result<Brought, FetchFault> {
        let mut count = |counted| match counted {
            Counted::Found(bytes) => self.step.advance(bytes),
            Counted::Arrived(bytes) => {
                self.step.advance(bytes);
                *locked(&self.received) += bytes;
            }
            Counted::Dropped(bytes) => self.step.take_back(bytes),
        };
        let LockedPackage { location, size, sha256, .. } = package;
        Ok(access.location.bring(location, *size, sha256, self.store, &mut count)?)
    }

    fn verify(
        &self,
        path: &Path,
        access: &Access,
        package: &LockedPackage,
    ) -> Result<(), FetchFault> {
        verify(path, &access.keyring, &package.nevra()).map_err(FetchFault::Package)?;
        Ok(())
    }
}

//! One repository being read: its signed `repomd.xml`, and the metadata files
//! that names, by way of the store.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use formats::Digest;

use super::repomd::{self, MetadataFile, Repomd};
use super::{RepositoryError, RepositoryFault};
use crate::location::{Brought, Location, LocationError, Place, TransferError};
use crate::recipe::Repository;
use crate::signature::{self, Keyring};
use crate::store::{SignedMetadata, Store, StoreError};

const REPOMD: &str = "repodata/repomd.xml";
const REPOMD_SIGNATURE: &str = "repodata/repomd.xml.asc";
/// A signature of an RSA key of 16,384 bits has 3 KB in armour.
const MAX_SIGNATURE_BYTES: u64 = 1 << 16;
/// zstd's default limit; what needs more memory is not metadata.
const MAX_WINDOW_LOG: u32 = 27;

/// A repository whose `repomd.xml` was read and is signed as it should be.
#[derive(Debug)]
pub(super) struct Source {
    pub id: String,
    pub url: String,
    pub repomd_digest: Digest,
    pub repomd: Repomd,
    /// Whether its own address has gone back behind what was seen of it.
    pub went_back: bool,
    location: Location,
    store: Store,
}

impl Source {
    /// Reads and checks the `repomd.xml` of `repository`.
    pub fn open(repository: &Repository, store: &Store) -> Result<Self, RepositoryError> {
        let failed = |fault| RepositoryError {
            id: repository.id.to_string(),
            url: repository.url.clone(),
            fault: Box::new(fault),
        };
        Self::try_open(repository, store).map_err(failed)
    }

    fn try_open(repository: &Repository, store: &Store) -> Result<Self, RepositoryFault> {
        let keyring = Keyring::new(&repository.keys).map_err(RepositoryFault::Keys)?;
        let location = Location::new(repository);
        let seen = store.seen_metadata(&repository.url);
        let (place, read) = match (location.first(read_signed), &seen) {
            (Err(error), Some(seen)) if error.is_offline() => (0, seen.clone()),
            (read, _) => read?,
        };
        let repomd = check(&read, &keyring)?;
        let newest = seen.as_ref().and_then(|seen| check(seen, &keyring).ok()?.revision);
        // What its own address says counts: an owner may take a publication
        // back. A mirror has no such say.
        let went_back = repomd.revision < newest;
        if went_back && place > 0 {
            return Err(RepositoryFault::Older { address: location.address_in(place, REPOMD) });
        }
        if seen.as_ref() != Some(&read) {
            let failed = |source| RepositoryFault::Store { file: REPOMD.to_owned(), source };
            store.note_metadata(&repository.url, &read).map_err(failed)?;
        }
        let SignedMetadata { bytes, .. } = read;
        Ok(Self {
            id: repository.id.to_string(),
            url: repository.url.clone(),
            repomd_digest: Digest::of(&bytes),
            repomd,
            went_back,
            location,
            store: store.clone(),
        })
    }

    /// Gives the unpacked contents of `file` to `parse`.
    pub fn metadata<T>(
        &self,
        file: &MetadataFile,
        parse: impl FnOnce(Box<dyn BufRead>, u64) -> Result<T, String>,
    ) -> Result<T, RepositoryError> {
        let result = self.unpacked(file).and_then(|input| {
            let name = || file.href.clone();
            parse(input, file.open_size)
                .map_err(|why| RepositoryFault::Malformed { file: name(), why })
        });
        result.map_err(|fault| RepositoryError {
            id: self.id.clone(),
            url: self.url.clone(),
            fault: Box::new(fault),
        })
    }

    fn unpacked(&self, file: &MetadataFile) -> Result<Box<dyn BufRead>, RepositoryFault> {
        self.fetch(file)?;
        let path = self.store.blob_path(&file.digest);
        let unreadable = |source| {
            let error = StoreError::Io { action: "read", path: path.clone(), source };
            RepositoryFault::Store { file: file.href.clone(), source: error }
        };
        let mut input = BufReader::new(File::open(&path).map_err(unreadable)?);
        let start = input.fill_buf().map_err(unreadable)?;
        let unpacked: Box<dyn Read> = match start {
            [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(input).map_err(unreadable)?;
                decoder.window_log_max(MAX_WINDOW_LOG).map_err(unreadable)?;
                Box::new(decoder)
            }
            [b'<', ..] => Box::new(input),
            _ => {
                let why = "it is neither gzip nor zstd nor plain XML".to_owned();
                return Err(RepositoryFault::Malformed { file: file.href.clone(), why });
            }
        };
        Ok(Box::new(BufReader::with_capacity(128 * 1024, unpacked)))
    }

    fn fetch(&self, file: &MetadataFile) -> Result<(), RepositoryFault> {
        if self.store.has(&file.digest, file.size) {
            return Ok(());
        }
        let brought =
            self.location.bring(&file.href, file.size, &file.digest, &self.store, &mut |_| {});
        let failed = |source| RepositoryFault::Store { file: file.href.clone(), source };
        match brought {
            Ok(Brought::There) => Ok(()),
            Ok(Brought::Received(received)) => received.keep().map(drop).map_err(failed),
            Err(TransferError::Location(error)) => Err(error.into()),
            Err(TransferError::Store(error)) => Err(failed(error)),
        }
    }
}

/// `repomd.xml` and its signature belong together: both from one place.
fn read_signed(place: &Place) -> Result<SignedMetadata, LocationError> {
    let bytes = place.read(REPOMD, repomd::MAX_BYTES)?;
    let signature = match place.read(REPOMD_SIGNATURE, MAX_SIGNATURE_BYTES) {
        Err(LocationError::Missing { .. }) => Vec::new(),
        other => other?,
    };
    Ok(SignedMetadata { bytes, signature })
}

fn check(read: &SignedMetadata, keyring: &Keyring) -> Result<Repomd, RepositoryFault> {
    let signatures = match read.signature.as_slice() {
        [] => Err(signature::SignatureError::Unsigned),
        bytes => signature::detached(bytes),
    };
    signatures
        .and_then(|signatures| keyring.verify(&signatures, &read.bytes))
        .map_err(|source| RepositoryFault::Signature { file: REPOMD, source })?;
    repomd::parse(&read.bytes)
        .map_err(|why| RepositoryFault::Malformed { file: REPOMD.to_owned(), why })
}

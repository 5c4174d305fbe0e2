//! One repository being read: its signed `repomd.xml`, and the metadata files
//! that names, by way of the store.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use formats::Digest;

use super::repomd::{self, MetadataFile, Repomd};
use super::{RepositoryError, RepositoryFault};
use crate::location::{Location, LocationError, with_retries};
use crate::recipe::Repository;
use crate::signature::{self, Keyring};
use crate::store::{Store, StoreError};

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
        let location = Location::new(&repository.place)?;
        let bytes = location.read(REPOMD, repomd::MAX_BYTES)?;
        let signature = match location.read(REPOMD_SIGNATURE, MAX_SIGNATURE_BYTES) {
            Err(LocationError::Missing { .. }) => Err(signature::SignatureError::Unsigned),
            other => signature::detached(&other?),
        };
        signature
            .and_then(|signatures| keyring.verify(&signatures, &bytes))
            .map_err(|source| RepositoryFault::Signature { file: REPOMD, source })?;
        let repomd = repomd::parse(&bytes)
            .map_err(|why| RepositoryFault::Malformed { file: REPOMD.to_owned(), why })?;
        Ok(Self {
            id: repository.id.to_string(),
            url: repository.url.clone(),
            repomd_digest: Digest::of(&bytes),
            repomd,
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
        let is_temporary = |fault: &RepositoryFault| match fault {
            RepositoryFault::Location(error) => error.is_temporary(),
            RepositoryFault::Store { source: StoreError::Source { .. }, .. } => true,
            _ => false,
        };
        with_retries(is_temporary, || {
            let reader = self.location.open(&file.href)?;
            let inserted = self.store.insert(reader, file.size, &file.digest);
            let failed = |source| RepositoryFault::Store { file: file.href.clone(), source };
            inserted.map(|_| ()).map_err(failed)
        })
    }
}

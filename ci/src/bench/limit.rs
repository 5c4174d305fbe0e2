//! The least that building an image can cost: unpacking every payload, hashing
//! what must be hashed, and writing the result, each on one core and by itself.
//! What a builder takes beyond that is its own.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use rpm::PackageMetadata;
use sha2::{Digest, Sha256};

/// Larger than any cache line of interest, small enough for every cache.
const PIECE: usize = 1 << 17;

/// Seconds of each part, and what they were spent on.
pub struct Limit {
    /// of the packages as they are stored
    pub packed_bytes: u64,
    /// of their payloads
    pub unpacked_bytes: u64,
    /// unpacking all payloads, keeping nothing
    pub unpack: Duration,
    /// SHA-256 over packages, files and the file system's blocks
    pub hash: Duration,
    /// writing the unpacked bytes to a file
    pub write: Duration,
}

impl Limit {
    /// Measures with `packages`, writing below `scratch`.
    pub fn measure(packages: &[PathBuf], scratch: &Path) -> Result<Self> {
        let (mut packed_bytes, mut unpacked_bytes) = (0, 0);
        let began = Instant::now();
        for path in packages {
            packed_bytes += fs::metadata(path)?.len();
            unpacked_bytes += io::copy(&mut payload(path)?, &mut io::sink())?;
        }
        let unpack = began.elapsed();
        // every package once, every file's bytes once, every block of the root once
        let hash = hash(packed_bytes + 2 * unpacked_bytes);
        let write = write(unpacked_bytes, &scratch.join("limit"))?;
        Ok(Self { packed_bytes, unpacked_bytes, unpack, hash, write })
    }

    /// All of it, one after the other on one core.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.unpack + self.hash + self.write
    }
}

fn payload(path: &Path) -> Result<Box<dyn Read>> {
    let mut file = io::BufReader::with_capacity(PIECE, File::open(path)?);
    let metadata = PackageMetadata::parse(&mut file)?;
    Ok(match metadata.get_payload_compressor()? {
        rpm::CompressionType::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        rpm::CompressionType::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        rpm::CompressionType::Xz => Box::new(liblzma::bufread::XzDecoder::new(file)),
        _ => Box::new(file),
    })
}

fn hash(bytes: u64) -> Duration {
    let piece = vec![0x5a; PIECE];
    let began = Instant::now();
    let mut hasher = Sha256::new();
    for _ in 0..bytes / PIECE as u64 {
        hasher.update(&piece);
    }
    std::hint::black_box(hasher.finalize());
    began.elapsed()
}

fn write(bytes: u64, path: &Path) -> Result<Duration> {
    let piece = vec![0x5a; PIECE];
    let began = Instant::now();
    let mut file = File::create(path)?;
    for _ in 0..bytes / PIECE as u64 {
        file.write_all(&piece)?;
    }
    let took = began.elapsed();
    fs::remove_file(path)?;
    Ok(took)
}

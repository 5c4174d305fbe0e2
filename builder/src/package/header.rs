//! What the `rpm` crate makes of an RPM file's headers. The crate trusts the
//! offsets and counts it finds, so it is only given what was checked before.

use std::io::Read;

use super::Problem;
use crate::header::RawHeaders;

/// Reads lead, signature header and header, and leaves `input` at the payload.
pub fn read(input: &mut impl Read) -> Result<rpm::PackageMetadata, Problem> {
    let headers = RawHeaders::read(input)?;
    Ok(rpm::PackageMetadata::parse(&mut headers.bytes())?)
}

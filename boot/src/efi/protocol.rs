//! Opening a protocol without disturbing the drivers that use it.

use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol};
use uefi::proto::ProtocolPointer;
use uefi::{Handle, Result};

/// Opens `P` on `handle`. The result is dropped before anything else gets to
/// run on the machine, so that no driver can take the protocol away meanwhile.
#[allow(unsafe_code)]
pub fn open<P: ProtocolPointer + ?Sized>(handle: Handle) -> Result<ScopedProtocol<P>> {
    let params = OpenProtocolParams { handle, agent: boot::image_handle(), controller: None };
    // SAFETY: nothing else runs while this program holds a protocol: it starts
    // an image or connects a driver only after dropping every one it opened.
    // An exclusive open, the safe alternative, would disconnect the file system
    // and partition drivers from the very disk that is being read.
    unsafe { boot::open_protocol(params, OpenProtocolAttributes::GetProtocol) }
}

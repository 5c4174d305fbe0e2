//! The boot loader interface's variables, as far as a fall-back needs them.

use uefi::runtime::{self, VariableVendor};
use uefi::{CStr16, cstr16, guid};

/// systemd's "Boot Loader Interface".
const LOADER: VariableVendor = VariableVendor(guid!("4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"));

/// What systemd's stub says of the image it is in. It keeps values that are
/// there already, taking them for the boot loader's.
const OF_AN_IMAGE: [&CStr16; 2] =
    [cstr16!("LoaderDevicePartUUID"), cstr16!("LoaderImageIdentifier")];

/// Removes what an image that came back has left behind: the system in the
/// other slot would take the wrong partition for its own.
pub fn forget_last_image() {
    for name in OF_AN_IMAGE {
        // absent, as a rule
        let _ = runtime::delete_variable(name, &LOADER);
    }
}

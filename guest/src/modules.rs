//! Loading the initrd's kernel modules in the order its builder worked out.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;

use crate::error::{At, During};

/// Where they and the file `order` lie.
const FOLDER: &str = "/modules";

/// Loads each module that `order` names; one that is there already is fine.
/// Returns how many were loaded. An initrd without the folder has everything
/// built in.
pub fn load_all() -> Result<usize, At> {
    let folder = Path::new(FOLDER);
    let order = folder.join("order");
    let names = match std::fs::read_to_string(&order) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        read => read.during("read", order)?,
    };
    let mut loaded = 0;
    for name in names.lines().map(str::trim).filter(|line| !line.is_empty()) {
        loaded += usize::from(load(&folder.join(name))?);
    }
    Ok(loaded)
}

fn load(path: &Path) -> Result<bool, At> {
    let file = File::open(path).during("open", path)?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // a driver for hardware that is not there, such as a CPU's crypto
        Err(Errno::NODEV) => Ok(false),
        Err(error) => Err(error).during("load the module", path),
    }
}

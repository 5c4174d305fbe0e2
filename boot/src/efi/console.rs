//! One line on the firmware's console. A console that is broken or not there
//! must not keep a machine from booting, so nothing here fails.

use core::fmt::{self, Write};

/// Prints `line` and ends it.
pub fn print_line(line: fmt::Arguments<'_>) {
    // the specification has ConOut present even when no console is active
    uefi::system::with_stdout(|out| {
        let _ = writeln!(out, "{line}");
    });
}

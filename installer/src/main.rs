//! The `slipway-installer` command; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    slipway_installer::cli::main()
}

//! What a bug in this program does: say so, then try again from the start. The
//! `uefi` crate's own handler would power the machine off.

use core::panic::PanicInfo;

use super::console::print_line;
use super::reset_later;

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    print_line(format_args!("slipway-boot: {info}"));
    reset_later()
}

//! The EFI side: the entry point, and [`Firmware`] on top of boot services.

mod block_io;
mod console;
mod disk;
mod panic;
mod protocol;
mod sbat;
mod variables;

use core::convert::Infallible;
use core::fmt;
use core::time::Duration;

use formats::release::Slot;
use slipway_boot::chooser::{Firmware, choose, say};
use uefi::boot::{self, LoadImageSource};
use uefi::proto::device_path::DevicePath;
use uefi::runtime::{self, ResetType};
use uefi::{Handle, Status};

use block_io::Partition;
use disk::Disk;

/// How long a started image may take until it ends boot services. A spinning
/// one is reset after this; the try was counted.
const WATCHDOG_SECONDS: usize = 300;
/// Codes up to 0xffff are the firmware's own.
const WATCHDOG_CODE: u64 = 0x1_0000;
/// So that somebody can read why, and a machine nobody watches tries again.
const READING_TIME: Duration = Duration::from_secs(10);

#[uefi::entry]
fn main() -> Status {
    let mut machine = Machine { disk: None };
    let version = env!("CARGO_PKG_VERSION");
    say(&mut machine, format_args!("{version}"));
    match Disk::own() {
        Ok(disk) => {
            machine.disk = Some(disk);
            if let Some(running) = choose(&mut machine) {
                match running {}
            }
        }
        Err(why) => say(&mut machine, format_args!("{why}")),
    }
    let line = format_args!("no slot can be started, resetting in 10 seconds");
    say(&mut machine, line);
    reset_later()
}

/// A machine should neither sit in a shell nor be switched off.
fn reset_later() -> ! {
    boot::stall(READING_TIME);
    runtime::reset(ResetType::COLD, Status::ABORTED, None)
}

/// The machine this program runs on.
struct Machine {
    disk: Option<Disk>,
}

/// An image the firmware has loaded.
struct Loaded(Handle);

/// A status other than success.
struct Refusal(Status);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Firmware for Machine {
    type Device = Partition;
    type Image = Loaded;
    type Refusal = Refusal;
    type Running = Infallible;

    fn state(&mut self) -> Option<&mut Partition> {
        self.disk.as_mut()?.state.as_mut()
    }

    fn uki(&mut self, slot: Slot) -> Option<&mut Partition> {
        self.disk.as_mut()?.ukis[slot.index()].as_mut()
    }

    fn load(&mut self, slot: Slot, image: &[u8]) -> Result<Loaded, Refusal> {
        // The partition's path makes the image's DeviceHandle that partition:
        // systemd's stub reports it to the system as the place it came from.
        let path = self.uki(slot).and_then(|partition| disk::image_path(partition.handle(), slot));
        let file_path = path.as_deref().and_then(|bytes| <&DevicePath>::try_from(bytes).ok());
        let source = LoadImageSource::FromBuffer { buffer: image, file_path };
        boot::load_image(boot::image_handle(), source)
            .map(Loaded)
            .map_err(|error| Refusal(error.status()))
    }

    fn start(&mut self, image: Loaded) -> Result<Infallible, Refusal> {
        variables::forget_last_image();
        // a machine without a watchdog boots all the same
        let _ = boot::set_watchdog_timer(WATCHDOG_SECONDS, WATCHDOG_CODE, None);
        Err(Refusal(match boot::start_image(image.0) {
            Ok(()) => Status::SUCCESS,
            Err(error) => error.status(),
        }))
    }

    fn print(&mut self, line: fmt::Arguments<'_>) {
        console::print_line(line);
    }
}

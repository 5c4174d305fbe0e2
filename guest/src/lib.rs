//! What runs inside the VM: `slipway-init`, PID 1 of the initrd, and
//! `slipway-agent`, which the image starts as a service.
//!
//! ```text
//! slipway-init:  modules ─▶ own disk ─▶ slot ─▶ dm-verity ─▶ /var ─▶ /etc ─▶ keeper ─▶ switch root
//! slipway-agent: alive ─▶ grow data ─▶ healthy? ─▶ read the slot ─▶ commit ─▶ tidy
//!                                         └─ not in time ─▶ why, record, reboot
//! keeper:        no sign of the agent in time ─▶ why, record, reboot
//! ```
//!
//! Nothing here ever waits without an end or hands out a shell: what cannot
//! go on says why, notes it in the state record and reboots, and slipway-boot
//! counts.

pub mod agent;
pub mod boot_facts;
pub mod commit;
pub mod console;
pub mod copy;
pub mod deadline;
pub mod device;
pub mod disk;
pub mod dm;
pub mod efi;
pub mod error;
pub mod etc;
pub mod events;
pub mod ext4;
pub mod failure;
pub mod grow;
pub mod health;
pub mod init;
mod ioctl;
pub mod keeper;
pub mod machine_id;
pub mod modules;
pub mod mounts;
pub mod overlay;
pub mod paths;
pub mod persist;
pub mod populate;
pub mod record;
pub mod settings;
pub mod slot;
pub mod slot_check;
pub mod switch_root;
pub mod tidy;

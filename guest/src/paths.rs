//! The files by which the initrd, the keeper, the agent and the image's units
//! know of each other.

/// Everything below lies here, on a tmpfs that lives as long as the boot.
pub const RUN: &str = "/run/slipway";
/// KEY=VALUE facts of this boot, written by slipway-init.
pub const BOOT_FACTS: &str = "/run/slipway/boot";
/// Name in [`RUN`]: every change of it is a sign of life of the agent.
pub const ALIVE: &str = "agent-alive";
/// Name in [`RUN`]: the health gate was reached.
pub const HEALTHY: &str = "healthy";
/// Name in [`RUN`]: the slot is committed, nothing is left to watch.
pub const COMMITTED: &str = "committed";
/// Every file of `/etc` that the previous version had changed and that this
/// one did not take over, one a line.
pub const DROPPED_ETC: &str = "/run/slipway/dropped-etc";
/// Slipway's own folder on the data partition.
pub const OWN_DATA: &str = "lib/slipway";
/// In the image: paths under /etc that live on across versions, one a line.
pub const PERSIST: &str = "usr/lib/slipway/persist";

//! Verifies a bundle and slots it into a disk's inactive partitions.
//!
//! ```text
//! bundle ─verify─▶ VerifiedBundle ─plan─▶ InstallPlan ─apply─▶ inactive slot, pending
//! ```
//!
//! Only `apply` writes, it takes only a plan, and a plan is made only of a
//! verified bundle and a disk that fits it. Never depends on the builder.

pub mod apply;
pub mod bundle;
pub mod cli;
pub mod device;
pub mod machine;
pub mod plan;
pub mod progress;
pub mod status;

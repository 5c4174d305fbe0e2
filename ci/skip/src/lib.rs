//! What a test does where it cannot be done: it says so and passes, for a person
//! who has not installed every judge there is; or it fails, for `ci test`, whose
//! proof would else be weaker than it reads. Only tests use this.

use std::fmt::Display;

/// `ci test` sets this for the tests that it runs.
pub const VARIABLE: &str = "SLIPWAY_NO_SKIP";

/// Says why a test is not done: a tool is missing, or a right.
///
/// # Panics
/// Where nothing may be skipped.
#[track_caller]
pub fn because(why: impl Display) {
    assert!(std::env::var_os(VARIABLE).is_none(), "{why}, and {VARIABLE} is set");
    println!("skipped: {why}");
}

/// Says that data is not there which not every machine can have; that is no
/// failure anywhere.
pub fn without_data(what: impl Display) {
    println!("skipped: {what}");
}

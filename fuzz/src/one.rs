//! The parser this program is named after, driven by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    slipway_fuzz_targets::parse(env!("CARGO_BIN_NAME"), bytes);
});

//! `slipway-agent`: the image's side of an update. `watch` is a service,
//! `healthy` opens the health gate, `status` is for people.

use std::path::Path;
use std::process::ExitCode;

use slipway_guest::boot_facts::BootFacts;
use slipway_guest::console::AGENT;
use slipway_guest::error::chain;
use slipway_guest::{agent, health, record};

const USAGE: &str = "\
usage: slipway-agent watch             grow data, wait for health, commit the slot
       slipway-agent healthy           say that this machine is healthy
       slipway-agent status [DEVICE]   print the state record";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["watch"] => watch(),
        ["healthy"] => health::declare().map_err(|error| chain(&error)),
        ["status"] => status(None),
        ["status", device] => status(Some(Path::new(device))),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn watch() -> Result<(), String> {
    agent::watch().map_err(|error| {
        let why = chain(&error);
        AGENT.say(&why);
        why
    })
}

fn status(device: Option<&Path>) -> Result<(), String> {
    let own = || BootFacts::read().map(|facts| facts.state);
    let device = match device {
        Some(device) => device.to_path_buf(),
        None => own().map_err(|error| chain(&error))?,
    };
    let state = record::read(&device).map_err(|error| chain(&error))?;
    print!("{}", agent::describe(&state));
    Ok(())
}

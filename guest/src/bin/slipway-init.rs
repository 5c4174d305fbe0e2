//! `/init` of the initrd, and, under the name `@slipway-keeper`, what it leaves
//! running. Anything else it is called as does nothing.

use std::process::ExitCode;

use slipway_guest::console::INIT;
use slipway_guest::error::chain;
use slipway_guest::keeper::{self, Orders};

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    if arguments.next().as_deref() == Some(keeper::NAME) {
        return keep(&arguments.collect::<Vec<_>>());
    }
    if std::process::id() == 1 {
        slipway_guest::init::run();
    }
    eprintln!("slipway-init: runs as PID 1 of an initrd and nowhere else");
    ExitCode::FAILURE
}

fn keep(arguments: &[String]) -> ExitCode {
    let Some(orders) = Orders::parse(arguments) else {
        return ExitCode::FAILURE;
    };
    match keeper::run(&orders) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            INIT.say(&format!("keeper: {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

//! Power cuts and failing writes: whatever part of a write reaches the disk,
//! the machine comes up, and a bad slot's tries stay bounded.
#![allow(clippy::unwrap_used)]

mod machine;

use formats::block::MemoryDisk;
use formats::release::Slot;
use machine::{Disk, Failing, Fate, Machine, updated};

/// What the state partition may hold when the power goes: after each write,
/// and in the middle of one, byte range by byte range.
fn moments(before: &MemoryDisk, machine: &mut Machine) -> Vec<MemoryDisk> {
    let mut disk = before.clone();
    let mut moments = vec![disk.clone()];
    for write in &machine.state_disk().writes {
        for cut in (0..=512).step_by(32).chain([1024, 4096]) {
            let mut torn = disk.clone();
            torn.0[write.offset..write.offset + cut].copy_from_slice(&write.bytes[..cut]);
            moments.push(torn);
        }
        disk.0[write.offset..write.offset + write.bytes.len()].copy_from_slice(&write.bytes);
    }
    moments
}

#[test]
fn a_cut_anywhere_leaves_a_machine_that_comes_up() {
    let fates = Fate::FAILING.into_iter().chain([Fate::Runs]);
    for fate in fates {
        let mut machine = Machine::new(updated(), [Fate::Runs, fate]);
        for _ in 0..5 {
            let before = machine.state_disk().memory.clone();
            machine.state_disk().writes.clear();
            machine.boot().unwrap();
            for moment in moments(&before, &mut machine) {
                let mut cut = machine.clone();
                cut.state = Some(Disk::new(moment.0));
                comes_up_and_settles(&mut cut, fate);
            }
        }
    }
}

/// The proven slot is up within the tries of the other, and never lost: no
/// cut makes the record unreadable.
fn comes_up_and_settles(machine: &mut Machine, fate: Fate) {
    let mut started = Vec::new();
    for _ in 0..5 {
        started.push(machine.boot().expect("a proven slot is there"));
        let rebuilt = machine.lines.iter().any(|line| line.contains("state lost"));
        assert!(!rebuilt, "{:?}", machine.lines);
    }
    assert_eq!(started.last(), Some(&Slot::A));
    if fate != Fate::Runs {
        assert_eq!(started, [Slot::A; 5], "{fate:?}");
    }
}

#[test]
fn each_write_or_flush_may_fail() {
    for fate in Fate::FAILING.into_iter().chain([Fate::Runs]) {
        for nth in 0..8 {
            for failing in [Failing::Nth(nth), Failing::From(nth)] {
                let mut machine = Machine::new(updated(), [Fate::Runs, fate]);
                machine.state_disk().failing = failing;
                let started = machine.boot().expect("a proven slot is there");
                assert!(started == Slot::A || fate == Fate::Runs);
                machine.state_disk().failing = Failing::None;
                comes_up_and_settles(&mut machine, fate);
            }
        }
    }
}

#[test]
fn a_rebuild_may_be_cut_too() {
    let mut machine = Machine::new(updated(), [Fate::Runs; 2]);
    machine.state_disk().memory.0.fill(0xff);
    let before = machine.state_disk().memory.clone();
    machine.boot().unwrap();
    for moment in moments(&before, &mut machine) {
        let mut cut = machine.clone();
        cut.state = Some(Disk::new(moment.0));
        let started: Vec<_> = (0..4).map(|_| cut.boot().unwrap()).collect();
        assert!(started.contains(&Slot::B) && started.contains(&Slot::A));
    }
}

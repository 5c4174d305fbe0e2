//! Every path of the chooser, on a machine in memory.
#![allow(clippy::unwrap_used)]

mod machine;

use formats::release::Slot;
use formats::state::{Reason, State, Status};
use machine::{Failing, Fate, Machine, slot, updated};

const BOTH_RUN: [Fate; 2] = [Fate::Runs; 2];

#[test]
fn a_try_is_counted_before_it_is_made() {
    let mut machine = Machine::new(updated(), BOTH_RUN);
    assert_eq!(machine.boot(), Some(Slot::B));
    assert_eq!(machine.record().slot(Slot::B).boots_left, 2);
    let line = "slipway-boot: starting slot b version 2.0.0 (pending, 2 boots left)";
    assert_eq!(machine.lines, [line]);
    assert_eq!(machine.boot(), Some(Slot::B));
    assert!(machine.lines[0].ends_with("(pending, 1 boot left)"));
}

#[test]
fn a_pending_slot_gets_its_tries_and_no_more() {
    let mut machine = Machine::new(updated(), BOTH_RUN);
    let started: Vec<_> = (0..5).map(|_| machine.boot().unwrap().letter()).collect();
    assert_eq!(started, ["b", "b", "b", "a", "a"]);
    let record = machine.record();
    assert_eq!(record.slot(Slot::B).status, Status::Bad);
    assert_eq!(record.slot(Slot::B).reason, Some(Reason::BootsUsedUp));
    assert_eq!(
        machine.lines,
        ["slipway-boot: starting slot a version 1.0.0 (committed, 5 boots left)"]
    );
}

#[test]
fn whatever_cannot_start_gives_way_in_the_same_boot() {
    let expected = [
        "the disk has no partition for it",
        "cannot be read: DISK_FAILED",
        "no UKI header",
        "the UKI header is damaged",
        "the UKI header gives 1048576 bytes, more than the partition has",
        "the UKI is damaged: wrong SHA-256",
        "the firmware says SECURITY_VIOLATION",
        "its image returned: ABORTED",
    ];
    for (fate, why) in Fate::FAILING.into_iter().zip(expected) {
        let mut machine = Machine::new(updated(), [Fate::Runs, fate]);
        assert_eq!(machine.boot(), Some(Slot::A), "{fate:?}");
        assert_eq!(machine.lines[1], format!("slipway-boot: slot b refused: {why}"));
        let record = machine.record();
        assert_eq!(record.preferred, Slot::A);
        assert_eq!(record.slot(Slot::B).status, Status::Bad);
        let reason = match fate {
            Fate::Returns => Reason::ImageReturned,
            _ => Reason::ImageRefused,
        };
        assert_eq!(record.slot(Slot::B).reason, Some(reason));
        machine.boot();
        assert_eq!(machine.loads, [1, 0], "not tried again");
    }
}

#[test]
fn with_nothing_that_starts_it_says_why_and_ends() {
    let mut machine = Machine::new(updated(), [Fate::Returns, Fate::DamagedImage]);
    for _ in 0..3 {
        assert_eq!(machine.boot(), None);
        let last = machine.lines.len() - 2;
        assert_eq!(
            machine.lines[last..],
            [
                "slipway-boot: slot a: bad (its image returned to the firmware)",
                "slipway-boot: slot b: bad (its image was refused)",
            ]
        );
    }
}

#[test]
fn a_lost_record_is_rebuilt_and_stored() {
    let mut machine = Machine::new(updated(), BOTH_RUN);
    machine.state_disk().memory.0.fill(0xa5);
    assert_eq!(machine.boot(), Some(Slot::B));
    assert_eq!(machine.lines[0], "slipway-boot: state lost, rebuilt from the slots");
    let record = machine.record();
    assert_eq!(record.slot(Slot::A).status, Status::Pending);
    assert_eq!(record.slot(Slot::B).boots_left, 2);
    machine.boot();
    assert_eq!(machine.lines.len(), 1, "{:?}", machine.lines);
}

#[test]
fn a_lost_record_and_no_header_is_the_end() {
    let mut machine = Machine::new(updated(), [Fate::NoHeader, Fate::NoPartition]);
    machine.state_disk().memory.0.fill(0);
    assert_eq!(machine.boot(), None);
    assert_eq!(machine.lines, ["slipway-boot: state lost, and no slot has a header"]);
    assert!(machine.state_disk().writes.is_empty());
}

#[test]
fn without_a_state_partition_the_newer_slot_starts_uncounted() {
    for (fate, expected) in [(Fate::Runs, Slot::B), (Fate::Refused, Slot::A)] {
        let mut machine = Machine::new(updated(), [Fate::Runs, fate]);
        machine.state = None;
        assert_eq!(machine.boot(), Some(expected));
        let line = "slipway-boot: the disk has no state partition";
        assert!(machine.lines.iter().any(|said| said == line));
        assert!(machine.lines.last().unwrap().ends_with("(not counted)"));
    }
}

#[test]
fn a_newer_record_is_left_alone() {
    let newer = |fates| {
        let mut machine = Machine::new(updated(), fates);
        let disk = machine.state_disk();
        disk.memory.0[8] = 9;
        let crc = crc32(&disk.memory.0[..508]);
        disk.memory.0[508..512].copy_from_slice(&crc);
        let before = disk.memory.clone();
        let started = machine.boot();
        assert_eq!(machine.state_disk().memory, before);
        assert!(machine.state_disk().writes.is_empty());
        (started, machine.lines)
    };
    let (started, lines) = newer(BOTH_RUN);
    assert_eq!(started, Some(Slot::B));
    assert_eq!(
        lines,
        [
            "slipway-boot: the state record has format 9, too new to count in",
            "slipway-boot: starting slot b version 2.0.0 (not counted)",
        ]
    );
    for fate in Fate::FAILING {
        assert_eq!(newer([Fate::Runs, fate]).0, Some(Slot::A), "{fate:?}");
        assert_eq!(newer([fate; 2]).0, None, "{fate:?}");
    }
}

/// What `crc32fast` computes, so that the test needs no dependency for it.
fn crc32(bytes: &[u8]) -> [u8; 4] {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    (!crc).to_le_bytes()
}

#[test]
fn a_disk_that_cannot_be_written_starts_the_proven_slot() {
    let mut machine = Machine::new(updated(), BOTH_RUN);
    machine.state_disk().failing = Failing::From(0);
    assert_eq!(machine.boot(), Some(Slot::A));
    assert_eq!(
        machine.lines,
        [
            "slipway-boot: the boot state cannot be written: DISK_FAILED",
            "slipway-boot: slot b skipped: its try cannot be counted",
            "slipway-boot: the boot state cannot be written: DISK_FAILED",
            "slipway-boot: starting slot a version 1.0.0 (committed, 6 boots left)",
        ]
    );
}

#[test]
fn with_no_proven_slot_an_unproven_one_is_better_than_none() {
    let mut state = updated();
    state.slots[0] = slot(Status::Empty, 0, "");
    let mut machine = Machine::new(state, BOTH_RUN);
    machine.state_disk().failing = Failing::From(0);
    assert_eq!(machine.boot(), Some(Slot::B));
    let line = "slipway-boot: starting slot b version 2.0.0 (not counted)";
    assert_eq!(machine.lines.last().unwrap(), line);
}

#[test]
fn a_skipped_slot_keeps_its_tries() {
    let mut machine = Machine::new(updated(), BOTH_RUN);
    machine.state_disk().failing = Failing::Nth(0);
    assert_eq!(machine.boot(), Some(Slot::A));
    assert_eq!(machine.record().slot(Slot::B).boots_left, 3);
    assert_eq!(machine.boot(), Some(Slot::B));
}

/// Every record, with every mix of images, on disks that take writes and on
/// disks that do not.
#[test]
fn something_starts_whenever_something_can() {
    let statuses =
        [Status::Empty, Status::Writing, Status::Pending, Status::Committed, Status::Bad];
    let mut records = Vec::new();
    for a in statuses {
        for b in statuses {
            for boots in [[0, 0], [0, 1], [1, 0], [3, 3]] {
                for preferred in Slot::ALL {
                    let mut state = updated();
                    state.slots = [slot(a, boots[0], "1.0.0"), slot(b, boots[1], "2.0.0")];
                    state.preferred = preferred;
                    records.push(state);
                }
            }
        }
    }
    let fates = [Fate::Runs, Fate::NoHeader, Fate::DamagedImage, Fate::Refused, Fate::Returns];
    for state in records {
        for a in fates {
            for b in fates {
                for failing in [Failing::None, Failing::From(0), Failing::Nth(0), Failing::Nth(1)] {
                    starts_if_it_can(state, [a, b], failing);
                }
            }
        }
    }
}

fn starts_if_it_can(state: State, fates: [Fate; 2], failing: Failing) {
    let can = |slot: Slot| {
        let whole = !matches!(state.slot(slot).status, Status::Empty | Status::Writing);
        whole && fates[slot.index()] == Fate::Runs
    };
    let mut machine = Machine::new(state, fates);
    machine.state_disk().failing = failing;
    let started = machine.boot();
    let about = format!("{state:?} {fates:?} {:?}", machine.lines);
    match started {
        Some(slot) => assert!(can(slot), "{about}"),
        None => assert!(!Slot::ALL.into_iter().any(can), "{about}"),
    }
}

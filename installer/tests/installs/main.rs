//! Installs onto disks in memory: what must work, what must be refused with
//! nothing written, and every moment the power may go.

#![expect(clippy::cast_possible_truncation, reason = "the disks of the tests are small")]

mod workshop;

use formats::block::BLOCK_BYTES;
use formats::state::{Copies, Status};
use formats::transition::Tried;
use formats::{DataSchema, Digest, Slot};
use slipway_installer::apply::{ApplyError, apply};
use slipway_installer::bundle::{BundleError, VerifiedBundle, verify};
use slipway_installer::machine::{Machine, MachineError};
use slipway_installer::plan::{PlanError, Policy, plan};
use slipway_installer::progress::Progress;
use workshop::{Action, Draft, Scratch, TestDisk, disk, key, root_document, trusted};

fn opened(bytes: &[u8]) -> Result<VerifiedBundle, BundleError> {
    verify(&Scratch::new().file("test.bundle", bytes), trusted())
}

/// Installs onto `disk`, reading it afresh as a new process would.
fn install(disk: &mut TestDisk, bytes: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let bundle = opened(bytes)?;
    let mut machine = Machine::read(disk)?;
    let plan = plan(bundle, &machine, disk, Policy::default())?;
    apply(&plan, &mut machine, disk, &mut Progress::new(true))?;
    Ok(())
}

/// The version that boots next, if its slot holds all of it.
fn boots(disk: &TestDisk) -> String {
    let mut disk = disk.clone();
    let mut machine = Machine::read(&mut disk).expect("ours");
    let slot = machine.state.begin_boot(Tried::default()).expect("something boots");
    let places = *machine.slot(slot);
    let header = machine.headers[slot.index()].expect("a bootable slot has a header");
    let version = header.release.version.to_string();
    let draft = Draft::new(match version.as_str() {
        "1" => "1",
        "2" => "2",
        other => panic!("version {other}?"),
    });
    let starts = [
        places.uki.start_bytes + BLOCK_BYTES as u64,
        places.root.start_bytes,
        places.verity.start_bytes,
    ];
    for (start, payload) in starts.into_iter().zip(&draft.payloads) {
        let start = start as usize;
        let held = &disk.bytes[start..start + payload.len()];
        assert_eq!(Digest::of(held), Digest::of(payload), "slot {slot} is not whole");
    }
    version
}

#[test]
fn an_install_makes_the_other_slot_pending_and_writes_nothing_twice() {
    let mut disk = disk("1");
    let bundle = Draft::new("2").bytes();
    install(&mut disk, &bundle).expect("fits");
    let machine = Machine::read(&mut disk).expect("ours");
    assert_eq!(machine.state.preferred, Slot::B);
    assert_eq!(machine.state.slot(Slot::B).status, Status::Pending);
    assert_eq!(machine.state.slot(Slot::B).boots_left, 3);
    assert_eq!(boots(&disk), "2");
    // again, before it ever booted: the same slot, and no payload byte
    disk.actions.clear();
    install(&mut disk, &bundle).expect("fits");
    let payload = machine.slot(Slot::B).root.start_bytes;
    let wrote = |action: &Action| matches!(action, Action::Write(at, _) if *at >= payload);
    assert!(!disk.actions.iter().any(wrote));
    assert_eq!(boots(&disk), "2");
}

#[test]
fn the_power_may_go_at_any_moment_and_a_rerun_finishes() {
    let before = disk("1");
    let bundle = Draft::new("2").bytes();
    let mut whole = before.clone();
    install(&mut whole, &bundle).expect("fits");
    let actions = whole.actions.clone();
    let mut seen_new = false;
    for count in 0..=actions.len() {
        let mut disk = TestDisk::after(&before.bytes, &actions[..count]);
        let version = boots(&disk);
        assert!(version == "1" || count == actions.len() || version == "2", "after {count}");
        assert!(!seen_new || version == "2", "back to the old one after {count}");
        seen_new = version == "2";
        install(&mut disk, &bundle).expect("a rerun finishes");
        assert_eq!(boots(&disk), "2");
        // the last write torn in the middle of its sectors
        if let Some(Action::Write(at, bytes)) = actions.get(count) {
            for cut in (512..bytes.len()).step_by(512) {
                let torn =
                    [&actions[..count], &[Action::Write(*at, bytes[..cut].to_vec())]].concat();
                boots(&TestDisk::after(&before.bytes, &torn));
            }
        }
    }
    assert!(seen_new);
}

/// Between two flushes a disk may keep any of the writes and lose the others.
#[test]
fn writes_may_reach_the_disk_in_any_order_between_flushes() {
    let before = disk("1");
    let mut whole = before.clone();
    install(&mut whole, &Draft::new("2").bytes()).expect("fits");
    let flushes = |action: &Action| matches!(action, Action::Flush);
    let mut done: Vec<Action> = Vec::new();
    for epoch in whole.actions.split_inclusive(flushes) {
        for dropped in 0..epoch.len() {
            for kept in [&epoch[..dropped], &epoch[dropped + 1..]] {
                boots(&TestDisk::after(&before.bytes, &[&done, kept].concat()));
            }
            boots(&TestDisk::after(&before.bytes, &[&done, &epoch[dropped..=dropped]].concat()));
        }
        done.extend_from_slice(epoch);
    }
}

#[test]
fn a_disk_that_fails_at_any_write_leaves_the_old_system() {
    let before = disk("1");
    let bundle = Draft::new("2").bytes();
    let mut whole = before.clone();
    install(&mut whole, &bundle).expect("fits");
    for lasts in 0..whole.actions.len() {
        let mut failing = TestDisk { lasts, ..before.clone() };
        let error = install(&mut failing, &bundle).expect_err("the disk is full");
        assert!(!error.to_string().is_empty());
        boots(&failing);
    }
}

#[test]
fn a_bundle_cut_off_anywhere_is_refused_and_nothing_written() {
    let bytes = Draft::new("2").bytes();
    let before = disk("1");
    for len in (0..bytes.len()).step_by(64).chain([bytes.len() - 1]) {
        let mut disk = before.clone();
        assert!(install(&mut disk, &bytes[..len]).is_err(), "cut at {len}");
        assert!(disk.actions.is_empty(), "cut at {len}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(opened(&longer).is_err());
}

/// Where the content of the member `name` lies in a bundle.
fn member(bytes: &[u8], name: &str) -> std::ops::Range<usize> {
    let mut at = 0;
    loop {
        let record = bytes[at..at + 512].try_into().expect("a record");
        let (found, size) = formats::archive::parse_header(record).expect("a header");
        let size = size as usize;
        if found == name {
            return at + 512..at + 512 + size;
        }
        at += 512 + size.next_multiple_of(512);
    }
}

#[test]
fn every_changed_byte_is_noticed_before_it_is_written() {
    let bytes = Draft::new("2").bytes();
    // the link of the chain that this machine already trusts is passed over
    let inert = member(&bytes, "root/1.json");
    let before = disk("1");
    let scratch = Scratch::new();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        let path = scratch.file("test.bundle", &changed);
        let Ok(bundle) = verify(&path, trusted()) else { continue };
        let mut disk = before.clone();
        let mut machine = Machine::read(&mut disk).expect("ours");
        let plan = plan(bundle, &machine, &mut disk, Policy::default()).expect("fits");
        let done = apply(&plan, &mut machine, &mut disk, &mut Progress::new(true));
        if inert.contains(&at) {
            done.expect("nothing depends on it");
            assert_eq!(boots(&disk), "2");
            continue;
        }
        // only data may pass the first check, and then its chunk is refused
        let refused = matches!(done, Err(ApplyError::Bundle(BundleError::Chunk { .. })));
        assert!(refused, "byte {at} was not noticed: {done:?}");
        assert_eq!(boots(&disk), "1");
    }
}

#[test]
fn signatures_and_trust() {
    let refusal = |draft: &Draft| opened(&draft.bytes()).map(drop).expect_err("refused");
    let other_key = Draft { signer: key(9), ..Draft::new("2") };
    assert!(matches!(refusal(&other_key), BundleError::Signature(_)));
    // the stick vouches for itself
    let forged =
        Draft { roots: vec![root_document(1, &key(9))], signer: key(9), ..Draft::new("2") };
    assert!(matches!(refusal(&forged), BundleError::Signature(_)));
    let forged = Draft { roots: vec![vec![], root_document(2, &key(9))], ..forged };
    assert!(matches!(refusal(&forged), BundleError::Root { version: 2, .. }));
}

#[test]
fn a_bundle_that_is_not_for_this_machine_is_refused() {
    let check = |draft: Draft| {
        let bundle = opened(&draft.bytes()).expect("signed");
        let mut disk = disk("1");
        let machine = Machine::read(&mut disk).expect("ours");
        let error = plan(bundle, &machine, &mut disk, Policy::default()).map(drop);
        assert!(disk.actions.is_empty());
        error.expect_err("refused")
    };
    let new = || Draft::new("2");
    assert!(matches!(check(Draft { product: "other", ..new() }), PlanError::Product { .. }));
    assert!(matches!(check(Draft { arch: "aarch64", ..new() }), PlanError::Arch(_)));
    assert!(matches!(check(Draft { epoch: 0, ..new() }), PlanError::Epoch { .. }));
    let data = DataSchema { min: 2, max: 3 };
    assert!(matches!(check(Draft { data, ..new() }), PlanError::Data { .. }));
    let mut large = new();
    large.payloads[1] = vec![7; 64 << 10];
    assert!(matches!(check(large), PlanError::Room { payload: "root", .. }));
}

#[test]
fn a_disk_that_is_not_ours_is_refused() {
    let mut blank = TestDisk::after(&vec![0; 1 << 20], &[]);
    assert!(matches!(Machine::read(&mut blank), Err(MachineError::Gpt(_))));
    blank.bytes[..8].copy_from_slice(b"vhdxfile");
    assert!(matches!(Machine::read(&mut blank), Err(MachineError::Container("VHDX"))));
    let mut tiny = TestDisk::after(&[0; 100], &[]);
    assert!(Machine::read(&mut tiny).is_err());
    let mut cut = disk("1");
    cut.bytes.truncate(100 << 10);
    assert!(matches!(Machine::read(&mut cut), Err(MachineError::Gpt(_))));
}

#[test]
fn with_both_state_copies_destroyed_the_slots_speak() {
    let mut disk = disk("1");
    let start = 64 << 10;
    disk.bytes[start..start + 2 * BLOCK_BYTES].fill(0xff);
    let machine = Machine::read(&mut disk).expect("rebuilt");
    assert!(machine.rebuilt);
    assert_eq!(machine.state.slot(Slot::A).status, Status::Pending);
    assert_eq!(boots(&disk), "1");
    install(&mut disk, &Draft::new("2").bytes()).expect("the record is made anew");
    assert_eq!(boots(&disk), "2");
    let uki_a = 96 << 10;
    disk.bytes[start..start + 2 * BLOCK_BYTES].fill(0);
    disk.bytes[uki_a..uki_a + BLOCK_BYTES].fill(0);
    let uki_b = 192 << 10;
    disk.bytes[uki_b..uki_b + BLOCK_BYTES].fill(0);
    assert!(matches!(Machine::read(&mut disk), Err(MachineError::Lost)));
}

#[test]
fn a_newer_state_record_stops_the_installer() {
    let mut disk = disk("1");
    let start = 64 << 10;
    for copy in [start, start + BLOCK_BYTES] {
        disk.bytes[copy + 8] = 2;
        let crc = crc(&disk.bytes[copy..copy + 508]);
        disk.bytes[copy + 508..copy + 512].copy_from_slice(&crc);
    }
    assert!(matches!(Machine::read(&mut disk), Err(MachineError::State(_))));
    let mut partition = formats::block::Window::new(&mut disk, start as u64, 8192).expect("there");
    assert!(Copies::read(&mut partition).newest().is_err());
}

/// CRC-32 as the record has it, bit by bit.
fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    (!crc).to_le_bytes()
}

//! A machine in memory: partitions that can fail, and firmware that refuses
//! images or gets them back. It checks on every start that the record is on
//! stable storage by then.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fmt;

use formats::block::{BLOCK_BYTES, BlockDevice, MemoryDisk};
use formats::digest::Digest;
use formats::release::{DataSchema, Release, Slot};
use formats::state::{COMMITTED_BOOTS, Copies, SlotState, State, Status};
use formats::uki_header::UkiHeader;
use slipway_boot::Firmware;

/// One write, as it reached the disk.
#[derive(Clone)]
pub struct Write {
    pub offset: usize,
    pub bytes: Vec<u8>,
}

/// Which of the writes and flushes fail, counted together from 0.
#[derive(Clone, Copy, Default)]
pub enum Failing {
    #[default]
    None,
    Nth(usize),
    From(usize),
}

/// A partition.
#[derive(Clone, Default)]
pub struct Disk {
    pub memory: MemoryDisk,
    pub failing: Failing,
    pub unreadable: bool,
    pub writes: Vec<Write>,
    calls: usize,
    flushed: bool,
}

impl Disk {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { memory: MemoryDisk(bytes), flushed: true, ..Self::default() }
    }

    fn next_fails(&mut self) -> bool {
        let call = self.calls;
        self.calls += 1;
        match self.failing {
            Failing::None => false,
            Failing::Nth(nth) => call == nth,
            Failing::From(first) => call >= first,
        }
    }
}

/// The disk said no.
#[derive(Debug)]
pub struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DISK_FAILED")
    }
}

impl BlockDevice for Disk {
    type Error = Failed;

    fn len_bytes(&self) -> u64 {
        self.memory.len_bytes()
    }
    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), Failed> {
        assert_eq!(offset_bytes % BLOCK_BYTES as u64, 0, "whole blocks");
        assert_eq!(buffer.len() % BLOCK_BYTES, 0, "whole blocks");
        if self.unreadable {
            return Err(Failed);
        }
        self.memory.read_at(offset_bytes, buffer).map_err(|_| Failed)
    }
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), Failed> {
        assert_eq!(offset_bytes % BLOCK_BYTES as u64, 0, "whole blocks");
        assert_eq!(bytes.len() % BLOCK_BYTES, 0, "whole blocks");
        if self.next_fails() {
            return Err(Failed);
        }
        self.flushed = false;
        self.writes.push(Write {
            offset: usize::try_from(offset_bytes).expect("small"),
            bytes: bytes.to_vec(),
        });
        self.memory.write_at(offset_bytes, bytes).map_err(|_| Failed)
    }
    fn flush(&mut self) -> Result<(), Failed> {
        if self.next_fails() {
            return Err(Failed);
        }
        self.flushed = true;
        Ok(())
    }
}

/// What becomes of a slot's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Runs,
    NoPartition,
    Unreadable,
    NoHeader,
    DamagedHeader,
    TooLong,
    DamagedImage,
    Refused,
    Returns,
}

impl Fate {
    pub const FAILING: [Self; 8] = [
        Self::NoPartition,
        Self::Unreadable,
        Self::NoHeader,
        Self::DamagedHeader,
        Self::TooLong,
        Self::DamagedImage,
        Self::Refused,
        Self::Returns,
    ];
}

#[derive(Clone)]
pub struct Machine {
    pub state: Option<Disk>,
    pub ukis: [Option<Disk>; 2],
    pub fates: [Fate; 2],
    pub lines: Vec<String>,
    /// how often an image of each slot was handed to the firmware
    pub loads: [usize; 2],
}

pub fn release(version: &str) -> Release {
    Release {
        version: version.parse().expect("short"),
        epoch: 1,
        root_hash: Digest::of(version.as_bytes()),
        tries: 3,
        data: DataSchema { min: 1, max: 1 },
    }
}

pub fn slot(status: Status, boots_left: u8, version: &str) -> SlotState {
    if status == Status::Empty {
        return SlotState::EMPTY;
    }
    SlotState { status, boots_left, reason: None, release: Some(release(version)) }
}

/// 1.0.0 in slot a, committed, and 2.0.0 in slot b, just installed.
pub fn updated() -> State {
    let mut state = State::new("demo".parse().expect("short"));
    state.slots =
        [slot(Status::Committed, COMMITTED_BOOTS, "1.0.0"), slot(Status::Pending, 3, "2.0.0")];
    state.preferred = Slot::B;
    state.data_schema = 1;
    state
}

/// A UKI partition. Its image is no multiple of a block.
fn uki(version: &str, generation: u64, fate: Fate) -> Disk {
    let image = vec![u8::try_from(generation).expect("small"); 2 * BLOCK_BYTES + 17];
    let mut header = UkiHeader {
        image_len: image.len() as u64,
        image_sha256: Digest::of(&image),
        product: "demo".parse().expect("short"),
        release: release(version),
        generation,
    };
    if fate == Fate::TooLong {
        header.image_len = 1 << 20;
    }
    let mut bytes = [&header.encode()[..], &image].concat();
    bytes.resize(8 * BLOCK_BYTES, 0);
    match fate {
        Fate::NoHeader => bytes[..8].fill(0),
        Fate::DamagedHeader => bytes[40] ^= 1,
        Fate::DamagedImage => bytes[BLOCK_BYTES + image.len() - 1] ^= 1,
        _ => {}
    }
    let mut disk = Disk::new(bytes);
    disk.unreadable = fate == Fate::Unreadable;
    disk
}

impl Machine {
    pub fn new(mut state: State, fates: [Fate; 2]) -> Self {
        let mut disk = Disk::new(vec![0; 1 << 14]);
        formats::state::store(&mut disk, &mut state).expect("memory");
        disk = Disk::new(disk.memory.0);
        let present = |slot: Slot, version, generation| {
            let fate = fates[slot.index()];
            (fate != Fate::NoPartition).then(|| uki(version, generation, fate))
        };
        Self {
            state: Some(disk),
            ukis: [present(Slot::A, "1.0.0", 1), present(Slot::B, "2.0.0", 2)],
            fates,
            lines: Vec::new(),
            loads: [0; 2],
        }
    }

    pub fn state_disk(&mut self) -> &mut Disk {
        self.state.as_mut().expect("there")
    }

    pub fn record(&mut self) -> State {
        let copies = Copies::read(self.state_disk());
        copies.newest().expect("a readable copy")
    }

    /// Switches it on; which slot runs in the end?
    pub fn boot(&mut self) -> Option<Slot> {
        self.lines.clear();
        self.loads = [0; 2];
        let running = slipway_boot::choose(self);
        assert!(self.loads.iter().all(|loads| *loads <= 1), "{:?}", self.lines);
        running
    }
}

impl Firmware for Machine {
    type Device = Disk;
    type Image = Slot;
    type Refusal = &'static str;
    type Running = Slot;

    fn state(&mut self) -> Option<&mut Disk> {
        self.state.as_mut()
    }
    fn uki(&mut self, slot: Slot) -> Option<&mut Disk> {
        self.ukis[slot.index()].as_mut()
    }
    fn load(&mut self, slot: Slot, image: &[u8]) -> Result<Slot, &'static str> {
        self.loads[slot.index()] += 1;
        assert_eq!(image.len(), 2 * BLOCK_BYTES + 17);
        assert!(image.iter().all(|byte| usize::from(*byte) == slot.index() + 1));
        match self.fates[slot.index()] {
            Fate::Refused => Err("SECURITY_VIOLATION"),
            _ => Ok(slot),
        }
    }
    fn start(&mut self, slot: Slot) -> Result<Slot, &'static str> {
        if let Some(state) = &self.state {
            let fails = !matches!(state.failing, Failing::None);
            assert!(state.flushed || fails, "started before the flush");
        }
        match self.fates[slot.index()] {
            Fate::Returns => Err("ABORTED"),
            _ => Ok(slot),
        }
    }
    fn print(&mut self, line: fmt::Arguments<'_>) {
        self.lines.push(line.to_string());
    }
}

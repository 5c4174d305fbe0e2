//! What a disk is: its partitions, its state record, what its slots hold.

use formats::block::{BLOCK_BYTES, Window, read_block};
use formats::gpt::{Gpt, GptError, Partition, kind};
use formats::state::{self, BadState, Copies, State};
use formats::uki_header::UkiHeader;
use formats::{BlockDevice, Slot};

/// Why a disk is not one of ours, or cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// No table, or one that cannot be right.
    #[error("not a Slipway disk")]
    Gpt(#[source] GptError<std::io::Error>),
    /// A disk in another format.
    #[error(
        "not a Slipway disk but a {0} file, and only raw disks can be worked with: \
         `qemu-img convert -O raw FILE DISK` makes one of it"
    )]
    Container(&'static str),
    /// A partition is missing or of another type.
    #[error("not a Slipway disk: it has no partition {0:?} of the right type")]
    Partition(String),
    /// Written by something newer.
    #[error(transparent)]
    State(#[from] BadState),
    /// Neither a record nor a slot to rebuild it from.
    #[error("both state copies are unreadable and no slot says what it holds: write the disk anew")]
    Lost,
    /// The disk failed.
    #[error("cannot {what} of the disk")]
    Io {
        /// what was being done
        what: &'static str,
        /// why it failed
        source: std::io::Error,
    },
}

/// Where a partition lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// its first byte on the disk
    pub start_bytes: u64,
    /// its size
    pub len_bytes: u64,
}

/// One slot's partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotPlaces {
    /// header and UKI
    pub uki: Place,
    /// root file system
    pub root: Place,
    /// its verity tree
    pub verity: Place,
}

/// A disk of ours.
#[derive(Debug)]
pub struct Machine {
    /// slots a and b
    pub slots: [SlotPlaces; 2],
    /// what the headers of the slots say
    pub headers: [Option<UkiHeader>; 2],
    /// the newest record, or the one rebuilt from the slots
    pub state: State,
    /// how many of the record's two copies are readable
    pub state_copies: usize,
    /// whether the record had to be rebuilt
    pub rebuilt: bool,
    state_place: Place,
}

impl Machine {
    /// Reads what the disk says of itself. Writes nothing.
    pub fn read<D: BlockDevice<Error = std::io::Error>>(
        disk: &mut D,
    ) -> Result<Self, MachineError> {
        let gpt = match Gpt::read(disk) {
            Ok(gpt) => gpt,
            Err(error) => return Err(container(disk).unwrap_or(MachineError::Gpt(error))),
        };
        let place = |name: &str, kind| {
            let found = gpt.partitions.iter().find(|p| p.name == name && p.kind == kind);
            found.map(Place::from).ok_or_else(|| MachineError::Partition(name.to_owned()))
        };
        let slot = |letter: &str| {
            Ok::<_, MachineError>(SlotPlaces {
                uki: place(&format!("uki-{letter}"), kind::UKI)?,
                root: place(&format!("root-{letter}"), kind::ROOT)?,
                verity: place(&format!("root-{letter}-verity"), kind::ROOT_VERITY)?,
            })
        };
        let slots = [slot("a")?, slot("b")?];
        let state_place = place("state", kind::STATE)?;
        let headers = [read_header(disk, slots[0].uki)?, read_header(disk, slots[1].uki)?];
        let copies = Copies::read(&mut window(disk, state_place)?);
        let (state, rebuilt) = match copies.newest() {
            Ok(state) => (state, false),
            Err(BadState::Damaged) => (State::rebuilt(headers).ok_or(MachineError::Lost)?, true),
            Err(newer) => return Err(newer.into()),
        };
        let state_copies = copies.0.iter().flatten().count();
        Ok(Self { slots, headers, state, state_copies, rebuilt, state_place })
    }

    /// The partitions of `slot`.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> &SlotPlaces {
        &self.slots[slot.index()]
    }

    /// Writes the record; on return it is on the disk.
    pub fn store<D: BlockDevice<Error = std::io::Error>>(
        &mut self,
        disk: &mut D,
    ) -> Result<(), MachineError> {
        let mut partition = window(disk, self.state_place)?;
        state::store(&mut partition, &mut self.state).map_err(|error| MachineError::Io {
            what: "write the state record",
            source: std::io::Error::other(error.to_string()),
        })
    }
}

/// What a file without a table is, if it is a disk of a kind that others read.
fn container<D: BlockDevice>(disk: &mut D) -> Option<MachineError> {
    let begin = read_block(disk, 0).ok()?;
    let kinds: [(&[u8], &str); 4] =
        [(b"QFI\xfb", "qcow2"), (b"vhdxfile", "VHDX"), (b"conectix", "VHD"), (b"KDMV", "VMDK")];
    let found = kinds.into_iter().find(|(magic, _)| begin.starts_with(magic));
    found.map(|(_, kind)| MachineError::Container(kind))
}

impl From<&Partition> for Place {
    fn from(partition: &Partition) -> Self {
        Self { start_bytes: partition.start_bytes, len_bytes: partition.len_bytes }
    }
}

fn window<D: BlockDevice>(disk: &mut D, place: Place) -> Result<Window<'_, D>, MachineError> {
    Window::new(disk, place.start_bytes, place.len_bytes)
        .ok_or_else(|| MachineError::Partition("inside the disk".into()))
}

fn read_header<D: BlockDevice<Error = std::io::Error>>(
    disk: &mut D,
    place: Place,
) -> Result<Option<UkiHeader>, MachineError> {
    let io = |source| MachineError::Io { what: "read a slot's header", source };
    let block = read_block(disk, place.start_bytes).map_err(io)?;
    let room = place.len_bytes.saturating_sub(BLOCK_BYTES as u64);
    Ok(UkiHeader::decode(&block).ok().filter(|header| header.image_len <= room))
}

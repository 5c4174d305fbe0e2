//! What a package needs and provides, as its header has it: names, versions
//! and the flags that say how strong a need is (rpm's `include/rpm/rpmds.h`).

use rpm::{IndexTag, PackageMetadata};

use crate::evr::{Bound, Sense};
use crate::repository::Dependency;

/// `RPMSENSE_TRIGGERIN`.
pub const TRIGGER_IN: u32 = 1 << 16;
/// `RPMSENSE_TRIGGERPREIN`.
pub const TRIGGER_PRE_IN: u32 = 1 << 25;
/// `RPMSENSE_TRIGGER`: the above, `TRIGGERUN` and `TRIGGERPOSTUN`.
pub const TRIGGER_MASK: u32 = TRIGGER_IN | TRIGGER_PRE_IN | 1 << 17 | 1 << 18;

const LESS: u32 = 1 << 1;
const GREATER: u32 = 1 << 2;
const EQUAL: u32 = 1 << 3;

/// Tags of names, versions and flags.
pub(super) type Tags = (IndexTag, IndexTag, IndexTag);

/// Something that is needed, provided or waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Name and range of versions.
    pub dependency: Dependency,
    /// All flags of the header.
    pub flags: u32,
}

/// A package's relations to others, each list in the header's order.
#[derive(Debug, Clone, Default)]
pub struct Relations {
    /// `Requires`.
    pub requires: Vec<Relation>,
    /// `Provides`.
    pub provides: Vec<Relation>,
    /// `Recommends` and `Suggests`.
    pub wishes: Vec<Relation>,
    /// `Supplements` and `Enhances`: the other one comes later.
    pub reversed: Vec<Relation>,
    /// `OrderWithRequires`.
    pub orders: Vec<Relation>,
}

impl Relations {
    pub(super) fn read(metadata: &PackageMetadata) -> Self {
        use IndexTag as T;
        let of = |name, version, flags| read(metadata, (name, version, flags));
        let recommends = (T::RPMTAG_RECOMMENDNAME, T::RPMTAG_RECOMMENDVERSION);
        let suggests = (T::RPMTAG_SUGGESTNAME, T::RPMTAG_SUGGESTVERSION);
        let supplements = (T::RPMTAG_SUPPLEMENTNAME, T::RPMTAG_SUPPLEMENTVERSION);
        let enhances = (T::RPMTAG_ENHANCENAME, T::RPMTAG_ENHANCEVERSION);
        Self {
            requires: of(T::RPMTAG_REQUIRENAME, T::RPMTAG_REQUIREVERSION, T::RPMTAG_REQUIREFLAGS),
            provides: of(T::RPMTAG_PROVIDENAME, T::RPMTAG_PROVIDEVERSION, T::RPMTAG_PROVIDEFLAGS),
            wishes: [
                of(recommends.0, recommends.1, T::RPMTAG_RECOMMENDFLAGS),
                of(suggests.0, suggests.1, T::RPMTAG_SUGGESTFLAGS),
            ]
            .concat(),
            reversed: [
                of(supplements.0, supplements.1, T::RPMTAG_SUPPLEMENTFLAGS),
                of(enhances.0, enhances.1, T::RPMTAG_ENHANCEFLAGS),
            ]
            .concat(),
            orders: of(T::RPMTAG_ORDERNAME, T::RPMTAG_ORDERVERSION, T::RPMTAG_ORDERFLAGS),
        }
    }
}

/// Reads one list; empty if the header has none.
pub(super) fn read(metadata: &PackageMetadata, (name, version, flags): Tags) -> Vec<Relation> {
    let header = &metadata.header;
    let Ok(names) = header.get_entry_data_as_string_array(name) else {
        return Vec::new();
    };
    let versions = header.get_entry_data_as_string_array(version).unwrap_or_default();
    let flags = header.get_entry_data_as_u32_array(flags).unwrap_or_default();
    let relation = |(at, name): (usize, &str)| {
        let flags = flags.get(at).copied().unwrap_or(0);
        let version = versions.get(at).copied().unwrap_or("");
        let bound = sense(flags).filter(|_| !version.is_empty());
        let bound = bound.map(|sense| Bound::parse(sense, version));
        Relation { dependency: Dependency { name: name.into(), bound }, flags }
    };
    names.into_iter().enumerate().map(relation).collect()
}

fn sense(flags: u32) -> Option<Sense> {
    let (less, greater, equal) = (flags & LESS != 0, flags & GREATER != 0, flags & EQUAL != 0);
    Some(match (less, greater, equal) {
        (true, false, false) => Sense::Less,
        (true, false, true) => Sense::LessEqual,
        (false, false, true) => Sense::Equal,
        (false, true, true) => Sense::GreaterEqual,
        (false, true, false) => Sense::Greater,
        _ => return None,
    })
}

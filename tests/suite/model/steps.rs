//! What may happen, in any order.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Files in the directory of ISOs.
pub const FILES: [&str; 4] = ["a.iso", "b.iso", "c.iso", "d.iso"];

/// What one client has open at a time.
pub const SLOTS: usize = 6;

/// A file of the tree, of one ISO or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Iso,
    Root,
    Kernel,
    Initrd,
    KernelInTree,
    RootInTree,
    NbdConf,
}

/// A directory of the tree, of one ISO or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    Images,
    Trees,
    Tree,
}

/// One step. Files and slots are numbers; what there is none of is passed over.
#[derive(Debug, Clone)]
pub enum Step {
    /// A new ISO, or another build of the one that has the name.
    Put {
        file: usize,
    },
    Rename {
        from: usize,
        to: usize,
    },
    Remove {
        file: usize,
    },
    /// The file is cut short in its place.
    Cut {
        file: usize,
        at: Index,
    },
    /// The directory is looked at.
    Look,
    Open {
        slot: usize,
        iso: Index,
        what: What,
    },
    Read {
        slot: usize,
        at: Index,
        len: usize,
    },
    Close {
        slot: usize,
    },
    OpenList {
        slot: usize,
        iso: Index,
        which: Listed,
    },
    /// As many names as find room.
    ReadList {
        slot: usize,
        room: usize,
    },
    /// The daemon is killed.
    Kill,
}

/// A sequence of steps; `kills`: with the daemon killed between them.
pub fn steps(kills: bool) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(kills), 4..48)
}

fn step(kills: bool) -> impl Strategy<Value = Step> {
    let file = || 0..FILES.len();
    let slot = || 0..SLOTS;
    let what = select(vec![
        What::Iso,
        What::Root,
        What::Kernel,
        What::Initrd,
        What::KernelInTree,
        What::RootInTree,
        What::NbdConf,
    ]);
    let which = select(vec![Listed::Images, Listed::Trees, Listed::Tree]);
    let index = any::<Index>;
    prop_oneof![
        5 => file().prop_map(|file| Step::Put { file }),
        2 => (file(), file()).prop_map(|(from, to)| Step::Rename { from, to }),
        2 => file().prop_map(|file| Step::Remove { file }),
        1 => (file(), index()).prop_map(|(file, at)| Step::Cut { file, at }),
        5 => Just(Step::Look),
        9 => (slot(), index(), what).prop_map(|(slot, iso, what)| Step::Open { slot, iso, what }),
        12 => (slot(), index(), select(vec![1, 511, 4096, 20_000, 200_000]))
            .prop_map(|(slot, at, len)| Step::Read { slot, at, len }),
        2 => slot().prop_map(|slot| Step::Close { slot }),
        3 => (slot(), index(), which).prop_map(|(slot, iso, which)| Step::OpenList { slot, iso, which }),
        5 => (slot(), 1..5_usize).prop_map(|(slot, room)| Step::ReadList { slot, room }),
        2 => Just(if kills { Step::Kill } else { Step::Look }),
    ]
}

//! Why an item stands in no menu of a loader.
//!
//! [`common`] has what no loader can say: each of them writes a line, and the kernel reads it. What only one of them can't
//! say stands in its own module.

use std::fmt;

use super::{IsoEntry, Item, grub, ipxe, pxelinux};
use crate::image::args::{Arg, Args};
use crate::image::printable;

/// Bytes of arguments that a kernel keeps: `COMMAND_LINE_SIZE` of x86 and AArch64 is 2048, and the last is a NUL. It drops
/// the rest without a word.
const MAX_LINE: usize = 2047;

/// `BOOTIF=01-` and an Ethernet address.
pub(super) const BOOTIF: usize = 27;

/// An IPv4 address, where the loader knows the server.
const ADDRESS: usize = 15;

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// So many bytes of arguments, with what the loader adds.
    TooLong(usize),
    /// An argument with control characters, several blanks in a row, or a quote without a partner.
    NoWord(String),
    /// An argument that loaders and kernels take for the name of an initrd.
    Initrd(String),
    /// An argument with a backslash or quotes.
    Backslash(String),
    /// An argument that iPXE would expand.
    Expands(String),
    /// An argument with the server's address, which neither this host nor the loader knows.
    NoAddress(String),
}

impl Refusal {
    /// A name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "arguments-too-long",
            Self::NoWord(_) => "argument-no-word",
            Self::Initrd(_) => "argument-names-initrd",
            Self::Backslash(_) => "argument-backslash",
            Self::Expands(_) => "argument-expands",
            Self::NoAddress(_) => "no-address",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => {
                write!(f, "{len} bytes of kernel arguments, and a kernel keeps {MAX_LINE}")
            }
            Self::NoWord(word) => write!(f, "'{}' can't be written as one word", cut(word)),
            Self::Initrd(word) => write!(f, "'{}' would be taken for an initrd", cut(word)),
            Self::Backslash(word) => {
                write!(f, "'{}' would get more backslashes or quotes on its way", cut(word))
            }
            Self::Expands(word) => write!(f, "'{}' would be expanded", cut(word)),
            Self::NoAddress(word) => write!(
                f,
                "'{}' needs the server's address, and this host has several or none: say it with --server",
                cut(word)
            ),
        }
    }
}

/// Enough of an argument to know it by, for a terminal.
fn cut(word: &str) -> String {
    let head: String = printable::line(word).chars().take(60).collect();
    if head.chars().count() < word.chars().count() { head + "..." } else { head }
}

/// An item that a loader's menu doesn't have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Title of the item.
    pub title: String,
    /// Names of the loaders.
    pub loaders: Vec<&'static str>,
    /// Why.
    pub refusal: Refusal,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' by {}: {}", cut(&self.title), self.loaders.join(" and "), self.refusal)
    }
}

/// What of an ISO is left out of which menus. `host` is the server's address; `given` says whether all loaders write that
/// down.
pub fn left_out(entry: &IsoEntry, host: &str, given: bool) -> Vec<LeftOut> {
    let known = given.then_some(host);
    let mut all: Vec<LeftOut> = Vec::new();
    for item in &entry.items {
        let refusals = [
            ("pxelinux", pxelinux::refuse(item, host)),
            ("GRUB", grub::refuse(item, known)),
            ("iPXE", ipxe::refuse(item, known)),
        ];
        for (loader, refusal) in refusals {
            let Some(refusal) = refusal else { continue };
            let title = if item.title.is_empty() { &entry.title } else { &item.title };
            // Lengths differ by what each loader adds.
            let same = |one: &&mut LeftOut| one.title == *title && one.refusal.code() == refusal.code();
            match all.last_mut().filter(same) {
                Some(last) => last.loaders.push(loader),
                None => all.push(LeftOut { title: title.clone(), loaders: vec![loader], refusal }),
            }
        }
    }
    all
}

/// The arguments that are written down: without the names of initrds, which are the loader's own.
pub(super) fn arguments(item: &Item) -> Args {
    item.args.clone().without(&["initrd"])
}

/// What no loader can say. `added` is the number of bytes that the kernel is given besides the arguments and the blank
/// before them.
pub(super) fn common(item: &Item, host: Option<&str>, added: usize) -> Option<Refusal> {
    let args = arguments(item);
    let faulty = args.iter().find_map(|arg| {
        let word = arg.to_string();
        if !is_word(arg) {
            Some(Refusal::NoWord(word))
        } else if word.contains("initrd=") {
            // pxelinux and the kernel's EFI stub look for these letters anywhere in the line.
            Some(Refusal::Initrd(word))
        } else {
            None
        }
    });
    let longest = host.map_or_else(|| "0".repeat(ADDRESS), str::to_owned);
    let len = added + 1 + args.with_server(&longest).to_string().len();
    faulty.or_else(|| (len > MAX_LINE).then_some(Refusal::TooLong(len)))
}

/// Whether the kernel reads it as one argument, whatever follows, and no loader changes the blanks in it.
fn is_word(arg: &Arg) -> bool {
    let word = arg.to_string();
    let quotes = word.bytes().filter(|&byte| byte == b'"').count();
    let single = !word.contains("  ") && !word.chars().any(char::is_control);
    single && quotes % 2 == 0 && Args::parse(&word) == Args::from_iter([Arg::new(word.clone())])
}

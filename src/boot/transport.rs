//! The ways in which a root comes to a client, and what an administrator may wish of them.

use serde::Deserialize;

/// Which export a client attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// The root image, `[LABEL]`.
    Image,
    /// The whole ISO, `[LABEL.iso]`.
    Iso,
}

/// How the root comes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Block by block, from an NBD export.
    Nbd(Export),
    /// The same, from the export of the whole ISO, by a second initramfs that attaches it.
    Netroot,
    /// As a whole, into the client's memory.
    Http,
    /// File by file.
    Nfs,
    /// By what the ISO's own arguments say.
    Own,
}

/// How the root is to come to the client, whatever its initrd seems to be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Wish {
    /// By NBD; which export, the rest decides.
    AnyNbd,
    /// So and not otherwise.
    Exactly(Transport),
}

/// A word that is no wish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown variant `{0}`, expected one of `nbd`, `nbd-image`, `nbd-iso`, `netroot`, `http`, `nfs`, `own`"
)]
pub struct UnknownWish(String);

impl Transport {
    /// Its name in tables and menus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nbd(_) => "NBD",
            Self::Netroot => "netroot",
            Self::Http => "HTTP",
            Self::Nfs => "NFS",
            Self::Own => "its own",
        }
    }

    /// The export that the client attaches.
    pub fn export(self) -> Option<Export> {
        match self {
            Self::Nbd(export) => Some(export),
            Self::Netroot => Some(Export::Iso),
            Self::Http | Self::Nfs | Self::Own => None,
        }
    }
}

impl Wish {
    /// Whether a transport is what was wished.
    pub fn is_met_by(self, transport: Transport) -> bool {
        match self {
            Self::AnyNbd => matches!(transport, Transport::Nbd(_)),
            Self::Exactly(wished) => wished == transport,
        }
    }
}

impl TryFrom<String> for Wish {
    type Error = UnknownWish;

    fn try_from(word: String) -> Result<Self, UnknownWish> {
        Ok(match word.as_str() {
            "nbd" => Self::AnyNbd,
            "nbd-image" => Self::Exactly(Transport::Nbd(Export::Image)),
            "nbd-iso" => Self::Exactly(Transport::Nbd(Export::Iso)),
            "netroot" => Self::Exactly(Transport::Netroot),
            "http" => Self::Exactly(Transport::Http),
            "nfs" => Self::Exactly(Transport::Nfs),
            "own" => Self::Exactly(Transport::Own),
            _ => return Err(UnknownWish(word)),
        })
    }
}

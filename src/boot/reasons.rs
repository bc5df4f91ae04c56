//! Refusals of ISOs that get no entry in the menus, and caveats of those that do: a sentence and a code each.
//!
//! Sentences are for people and may get better; codes are for programs and stay.

/// Why an ISO can't be booted with the servers and wishes that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Refusal {
    /// Only HTTP would do.
    #[error("it boots over HTTP only: say with --http-url where an HTTP server shows the tree")]
    NoHttp,
    /// HTTP or NFS would do.
    #[error("it boots over HTTP or NFS only: say with --http-url or --nfs where a server shows the tree")]
    NoHttpOrNfs,
    /// NFS is wished, or nothing else would do.
    #[error("it is to boot over NFS: say with --nfs where an NFS server shows the tree")]
    NoNfs,
    /// The wish is one that this ISO can't fulfil.
    #[error("it can't be booted by the transport that the configuration asks for")]
    OtherTransport,
    /// Its initrd knows discs only.
    #[error("its initrd has no network")]
    NoNetwork,
    /// A second initramfs is wished, and there is none.
    #[error("it is to boot by a second initramfs, and there is none for it")]
    NoNetroot,
    /// It has no resolver.
    #[error("it boots by netroot-init, which takes the server as an IPv4 address only: give --server one")]
    NamedServer,
    /// archiso without its hooks for networks.
    #[error("its initrd has none of the network hooks")]
    NoNetworkHook,
    /// A LiveOS with neither of dracut's ways.
    #[error("its initrd has neither NBD nor livenet: make the image with nbd and dracut-network in it")]
    NoNbdNorLivenet,
    /// A media check of a part, or of a copy.
    #[error("it checks the whole medium, which isn't attached")]
    NoWholeMedium,
}

/// Something that may stand in the way of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Caveat {
    /// The image, or the ISO, is fetched.
    #[error("it is copied into the client's memory")]
    Copied,
    /// casper's `url=`.
    #[error("the whole ISO is copied into the client's memory: it needs the ISO's size and 2 GiB more")]
    IsoCopied,
    /// live-boot's `fetch=`.
    #[error("the root image is copied into the client's memory")]
    RootCopied,
    /// Damage before anything was found.
    #[error("its initrd can't be read, so whether it can do NBD is not known")]
    InitrdUnread,
    /// dracut with systemd-networkd.
    #[error("its initrd uses systemd-networkd, with which dracut doesn't attach an NBD root")]
    Networkd,
    /// mkinitcpio's NBD hook has no word for a port.
    #[error("its initrd attaches NBD on port 10809 only, and the server has another")]
    OtherPort,
    /// A generic ISO with its own arguments.
    #[error("how it would boot over a network is not known")]
    UnknownNetwork,
    /// A generic ISO as an attached disc.
    #[error("how it looks for its disc is not known")]
    UnknownDisc,
}

impl Refusal {
    /// Its name for programs.
    pub fn code(self) -> &'static str {
        self.into()
    }
}

impl Caveat {
    /// Its name for programs.
    pub fn code(self) -> &'static str {
        self.into()
    }
}

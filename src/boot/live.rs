//! Whether an entry is a live system: one that leaves the machine's disks alone until somebody at it says otherwise.
//!
//! Only such an entry boots by itself where nobody has named one. What is not known is none: an installer, a program that
//! wipes, and whatever an ISO of no family does. A family says it for all of its ISOs; of a live one, arguments and titles
//! tell the entries that install.

use crate::boot::families::{
    self, Family, alpine, archiso, casper, coreos, flatcar, gentoo, live_boot, live_os, miso, mx, nixos,
    porteus, puppy, slax,
};
use crate::image::args::{Arg, Args};

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The family of the ISO.
    pub family: &'static Family,
    /// Where the family's own files lie in it.
    pub found: &'a str,
    /// The title of the entry.
    pub title: &'a str,
    /// Its own arguments, and those that an administrator adds.
    pub args: &'a Args,
    /// Set if the kernel has an initrd: without one it is a memory test, or all in one.
    pub has_initrd: bool,
    /// Set if it reads the whole medium.
    pub checks_media: bool,
}

/// A family whose ISOs have live systems.
struct Live {
    family: &'static Family,
    /// An argument that the live ones of its entries have.
    has: Option<(&'static str, &'static str)>,
    /// Whether `install` in a title says that the entry installs. Arch's "install medium" and NixOS' "Installer" come up with
    /// a shell.
    titles: bool,
}

impl Live {
    const fn new(family: &'static Family) -> Self {
        Self { family, has: None, titles: true }
    }

    const fn whatever_its_titles(family: &'static Family) -> Self {
        Self { family, has: None, titles: false }
    }
}

/// The families. Not among them, because they install: Anaconda, Debian's installer, linuxrc, Photon, Proxmox, Talos.
static LIVE: [Live; 14] = [
    Live::whatever_its_titles(&archiso::FAMILY),
    Live::whatever_its_titles(&miso::FAMILY),
    Live::whatever_its_titles(&nixos::FAMILY),
    Live::new(&casper::FAMILY),
    // Debian's live ISOs have its installer beside them, with a kernel and an initrd of its own.
    Live { family: &live_boot::FAMILY, has: Some(("boot", "live")), titles: true },
    Live::new(&live_os::FAMILY),
    Live::new(&alpine::FAMILY),
    Live::new(&gentoo::FAMILY),
    Live::new(&mx::FAMILY),
    Live::new(&slax::FAMILY),
    Live::new(&porteus::FAMILY),
    Live::new(&puppy::FAMILY),
    Live::new(&coreos::FAMILY),
    Live::new(&flatcar::FAMILY),
];

/// Keys of arguments with which a live system installs, or works without asking. A `*` at the end stands for anything.
const INSTALLS: [&str; 26] = [
    "auto-install/*",
    "autoyast",
    "coreos.inst*",
    "debian-installer/*",
    "ds",
    "fai_action",
    "inst.*",
    "install",
    "installer",
    "install-gui",
    "kickstart",
    "kiwi.install*",
    "ks",
    "ksdevice",
    "netinstall",
    "nuke",
    "nwipe*",
    "oem-config/*",
    "only-ubiquity",
    "preseed/*",
    "rd.kiwi.install*",
    "rescue/enable",
    "script",
    "shredos*",
    "textinstall",
    "url-preseed",
];

/// What makes an argument one of those wherever it stands in it: the names of programs.
const NAMES: [&str; 6] = ["autoinstall", "automatic-ubiquity", "autonuke", "dban", "nwipe", "restoredisk"];

/// Arguments with these values do.
const VALUES: [(&str, &str); 3] = [("auto", "true"), ("priority", "critical"), ("ocs_live_run", "ocs-sr")];

/// Words of titles that tell of an entry that is no live system, in every family.
const TITLES: [&str; 16] = [
    "automated",
    "automatic",
    "autoinstall",
    "clone",
    "erase",
    "kickstart",
    "memtest",
    "memtest86",
    "netinstall",
    "nuke",
    "oem",
    "restore",
    "shred",
    "shredos",
    "unattended",
    "wipe",
];

/// Words of titles that tell of an installer.
const INSTALLERS: [&str; 5] = ["install", "installation", "installer", "reinstall", "upgrade"];

/// Whether it is a live system.
///
/// ```
/// use netrootfs::boot::families::{anaconda, casper};
/// use netrootfs::boot::live::{Question, is_live};
/// use netrootfs::image::args::Args;
///
/// let args = Args::parse("quiet splash");
/// let entry = Question {
///     family: &casper::FAMILY,
///     found: "/casper/filesystem.squashfs",
///     title: "Try or Install Ubuntu",
///     args: &args,
///     has_initrd: true,
///     checks_media: false,
/// };
/// assert!(is_live(entry));
/// assert!(!is_live(Question { family: &anaconda::FAMILY, ..entry }));
/// assert!(!is_live(Question { args: &Args::parse("autoinstall"), ..entry }));
/// ```
pub fn is_live(entry: Question<'_>) -> bool {
    let Some(live) = LIVE.iter().find(|live| live.family == entry.family) else { return false };
    let has = live.has.is_none_or(|(key, value)| entry.args.values(key).any(|own| own == value));
    has && entry.has_initrd
        && !entry.checks_media
        && !is_ubuntu_server(entry)
        && !entry.args.iter().any(installs)
        && !is_title_of_installer(entry.title, live.titles)
}

fn installs(arg: &Arg) -> bool {
    let word = arg.to_string().to_ascii_lowercase().replace('"', "");
    let (key, value) = word.split_once('=').unwrap_or((&word, ""));
    INSTALLS.iter().any(|pattern| families::fits(key, pattern))
        || NAMES.iter().any(|name| word.contains(name))
        || VALUES.iter().any(|(name, begin)| key == *name && value.starts_with(begin))
}

/// Its one entry says "Try or Install", and there is nothing to try.
fn is_ubuntu_server(entry: Question<'_>) -> bool {
    let is_server =
        || entry.found.contains("ubuntu-server") || words(entry.title).any(|word| word == "server");
    entry.family == &casper::FAMILY && is_server()
}

fn is_title_of_installer(title: &str, by_title: bool) -> bool {
    let is = |names: &[&str]| words(title).any(|word| names.contains(&word.as_str()));
    // "Try or Install Ubuntu" comes up with the choice.
    is(&TITLES) || by_title && is(&INSTALLERS) && !is(&["try"])
}

fn words(title: &str) -> impl Iterator<Item = String> {
    title.split(|symbol: char| !symbol.is_alphanumeric()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::families::{anaconda, debian_installer, generic, linuxrc, photon, proxmox, talos};

    fn live(family: &'static Family, title: &str, args: &str) -> bool {
        let args = Args::parse(args);
        let found = "/casper/filesystem.squashfs";
        is_live(Question { family, found, title, args: &args, has_initrd: true, checks_media: false })
    }

    #[test]
    fn live_systems_are_known_by_family_title_and_arguments() {
        for (family, title, args) in [
            (&live_os::FAMILY, "Start Fedora-Workstation-Live 39", "rd.live.image quiet rhgb"),
            (&live_os::FAMILY, "Void Linux 6.12.76_1 (x86_64)", "ro init=/sbin/init rd.luks=0"),
            (&casper::FAMILY, "Start Linux Mint", "file=/cdrom/preseed/linuxmint.seed boot=casper quiet --"),
            (&casper::FAMILY, "Try or Install Ubuntu", "quiet splash --- "),
            (&casper::FAMILY, "Ubuntu (safe graphics)", "nomodeset maybe-ubiquity quiet splash ---"),
            (&casper::FAMILY, "Try Starlight without installing", "file=/cdrom/preseed/custom.seed"),
            (&live_boot::FAMILY, "Live system (amd64)", "boot=live components quiet splash"),
            (&live_boot::FAMILY, "Clonezilla live", "boot=live ocs_live_run=\"ocs-live-general\" ip="),
            (&archiso::FAMILY, "Arch Linux install medium (x86_64, UEFI)", "archisobasedir=arch"),
            (&archiso::FAMILY, "Boot SystemRescue using default options", "iomem=relaxed"),
            (&miso::FAMILY, "Boot with open source drivers", "misobasedir=manjaro driver=free"),
            (
                &nixos::FAMILY,
                "NixOS 25.05.804219.36ab78dab7da Installer",
                "root=LABEL=nixos init=/nix/x/init",
            ),
            (&alpine::FAMILY, "Linux lts", "modules=loop,squashfs quiet"),
            (&coreos::FAMILY, "Fedora CoreOS (Live)", "coreos.liveiso=fcos ignition.platform.id=metal"),
            (&flatcar::FAMILY, "Flatcar default", "flatcar.autologin"),
        ] {
            assert!(live(family, title, args), "{title}: {args}");
        }
    }

    #[test]
    fn what_installs_wipes_or_is_unattended_is_no_live_system() {
        for (family, title, args) in [
            (&anaconda::FAMILY, "Rescue a Fedora system", "inst.stage2=hd:LABEL=F rescue quiet"),
            (&debian_installer::FAMILY, "Install", "vga=788 --- quiet"),
            (&linuxrc::FAMILY, "Boot", "splash=silent"),
            (&photon::FAMILY, "Photon", "root=/dev/ram0"),
            (&proxmox::FAMILY, "Proxmox VE (Graphical)", "ro ramdisk_size=16777216"),
            (&talos::FAMILY, "Talos ISO", "talos.platform=metal"),
            (&generic::FAMILY, "ShredOS", "console=tty3 loglevel=3"),
            (&live_os::FAMILY, "Install Fedora", "rd.live.image"),
            (&live_os::FAMILY, "Start Fedora", "rd.live.image inst.ks=http://server/ks.cfg"),
            (&live_os::FAMILY, "Start", "rd.live.image ks=cdrom:/ks.cfg"),
            (&casper::FAMILY, "Install Ubuntu", "quiet splash"),
            (&casper::FAMILY, "Ubuntu", "only-ubiquity quiet splash"),
            (&casper::FAMILY, "Mint", "boot=casper automatic-ubiquity noprompt"),
            (&casper::FAMILY, "Kiosk Ubuntu", "autoinstall \"ds=nocloud;s=/cdrom/autoinstall\" ---"),
            (&casper::FAMILY, "Kiosk Ubuntu", "\"ds=nocloud;s=/cdrom/x/\" ---"),
            (&casper::FAMILY, "Ubuntu", "preseed/file=/cdrom/x.seed"),
            (&casper::FAMILY, "Ubuntu", "auto=true quiet"),
            (&casper::FAMILY, "OEM install (for manufacturers)", "boot=casper oem-config/enable=true"),
            (&casper::FAMILY, "Try or Install Ubuntu Server", "---"),
            (&live_boot::FAMILY, "Start installer", "vga=788 --- quiet"),
            (&live_boot::FAMILY, "Rescue mode", "rescue/enable=true vga=788"),
            (&live_boot::FAMILY, "Automated install", "auto=true priority=critical"),
            (
                &live_boot::FAMILY,
                "Live system",
                "boot=live ocs_live_run=\"ocs-sr -g auto restoredisk x sda\"",
            ),
            (&live_boot::FAMILY, "ShredOS", "boot=live nwipe_options=\"--autonuke\""),
            (&archiso::FAMILY, "Unattended install", "archisobasedir=arch"),
            (&archiso::FAMILY, "Arch Linux", "archisobasedir=arch script=http://server/install.sh"),
            (&alpine::FAMILY, "Netinstall", "netinstall"),
            (&coreos::FAMILY, "Fedora CoreOS", "coreos.inst.install_dev=/dev/sda"),
        ] {
            assert!(!live(family, title, args), "{title}: {args}");
        }
    }

    #[test]
    fn a_media_check_and_a_memory_test_are_no_live_systems() {
        let args = Args::default();
        let (family, found, title) = (&live_os::FAMILY, "/LiveOS/squashfs.img", "Start");
        let entry = Question { family, found, title, args: &args, has_initrd: true, checks_media: false };
        assert!(is_live(entry));
        assert!(!is_live(Question { has_initrd: false, ..entry }));
        assert!(!is_live(Question { checks_media: true, ..entry }));
    }

    #[test]
    fn ubuntus_server_is_known_by_its_layers() {
        let args = Args::parse("---");
        let found = "/casper/ubuntu-server-minimal.squashfs";
        let (family, title) = (&casper::FAMILY, "Try it");
        assert!(!is_live(Question {
            family,
            found,
            title,
            args: &args,
            has_initrd: true,
            checks_media: false
        }));
    }
}

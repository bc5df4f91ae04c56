//! Options as mount(8) hands them on: `-o a,b=c` → `--a --b=c`.
//!
//! mount.fuse3(8) runs `netrootfs ISO_DIR MOUNTPOINT -o …` with the options that stand in fstab(5). Those for mount itself
//! are passed over; any other is an option of netrootfs without its dashes. A comma in a value is `\,`, as in libfuse
//! (lib/fuse_opt.c).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Options of mount(8), fstab(5) and fuse(8) that say nothing to netrootfs: it mounts read-only, without devices and
/// set-user-ID, for all users.
const OTHERS: [&str; 29] = [
    "_netdev",
    "allow_other",
    "async",
    "atime",
    "auto",
    "default_permissions",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "group",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nosuid",
    "nouser",
    "owner",
    "relatime",
    "ro",
    "rw",
    "strictatime",
    "suid",
    "sync",
    "user",
    "users",
    "nostrictatime",
];

/// The arguments of a command line, with each `-o` written out.
pub fn written_out(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.into_iter();
    let mut written = Vec::new();
    while let Some(arg) = args.next() {
        match arg.as_bytes().strip_prefix(b"-o") {
            Some(b"") => match args.next() {
                Some(list) => written.extend(options(&list)),
                None => written.push(arg),
            },
            Some(list) => written.extend(options(OsStr::from_bytes(list))),
            None => written.push(arg),
        }
    }
    written
}

fn options(list: &OsStr) -> impl Iterator<Item = OsString> {
    let mut parts = vec![Vec::new()];
    let mut bytes = list.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, parts.last_mut()) {
            (b',', _) | (_, None) => parts.push(Vec::new()),
            (b'\\', Some(part)) => part.extend(bytes.next()),
            (byte, Some(part)) => part.push(byte),
        }
    }
    parts
        .into_iter()
        .filter(|part| !is_for_others(part))
        .map(|part| OsString::from_vec([b"--", part.as_slice()].concat()))
}

fn is_for_others(option: &[u8]) -> bool {
    let by_prefix = |prefix: &&str| option.starts_with(prefix.as_bytes());
    option.is_empty()
        || OTHERS.iter().any(|other| other.as_bytes() == option)
        || ["x-", "X-", "comment="].iter().any(by_prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(args: &[&str]) -> Vec<String> {
        let args = written_out(args.iter().map(OsString::from));
        args.into_iter().map(|arg| arg.into_string().unwrap()).collect()
    }

    #[test]
    fn options_of_mount_become_options_of_netrootfs() {
        let line =
            ["/srv/isos", "/srv/netboot", "-o", "rw,config=/etc/netrootfs.toml,timeout=5,nonempty,suid,dev"];
        let expected =
            ["/srv/isos", "/srv/netboot", "--config=/etc/netrootfs.toml", "--timeout=5", "--nonempty"];
        assert_eq!(written(&line), expected);
    }

    #[test]
    fn what_is_for_mount_itself_is_passed_over() {
        assert!(
            written(&["-o", "defaults,_netdev,nofail,x-systemd.automount,noauto,comment=a b"]).is_empty()
        );
        assert!(written(&["-oro"]).is_empty());
    }

    #[test]
    fn a_comma_can_stand_in_a_value() {
        assert_eq!(
            written(&["-o", r"append=console=ttyS0\,115200 quiet,verbose"]),
            ["--append=console=ttyS0,115200 quiet", "--verbose"]
        );
    }

    #[test]
    fn other_arguments_stay_as_they_are() {
        assert_eq!(written(&["check", "--json", "-", "o"]), ["check", "--json", "-", "o"]);
        assert_eq!(written(&["/a", "-o"]), ["/a", "-o"], "and clap has its sentence for it");
    }
}

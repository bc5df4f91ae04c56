//! How a mount fares, as plain values, and the texts that are made of them: JSON here, metrics, a page for browsers and lines
//! for a terminal in their own modules.
//!
//! The values come from whoever serves the mount; nothing is asked or read here. The keys are what netrootfs-status(7)
//! describes: one more may come, and none gets another meaning without another [`SCHEMA`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::boot::step;

mod metrics;
mod page;
mod people;

pub use metrics::metrics;
pub use page::page;
pub use people::{people, summary};

/// Version of the keys and what they mean.
pub const SCHEMA: u32 = 1;

/// All of it. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The program's version.
    pub version: String,
    /// When this was written.
    pub time: u64,
    /// When this process began.
    pub started: u64,
    /// How many processes served the mount before this one.
    pub takeovers: u64,
    /// Where the tree is mounted.
    pub mountpoint: String,
    /// The directory of ISOs.
    pub iso_directory: String,
    /// Whether that could be read when it was looked at last.
    pub iso_directory_readable: bool,
    /// The address of the servers in the menus; `None` where nobody knows it, and loaders use their own name for it.
    pub server: Option<String>,
    /// Who reads the ISOs for clients: `kernel`, or `cache`.
    pub data_path: String,
    /// When the tree became what it is.
    pub snapshot: u64,
    /// The ISOs that are served, by label.
    pub isos: Vec<Iso>,
    /// Those that aren't, by file name.
    pub left_out: Vec<LeftOut>,
    /// The files that were opened, by path. What lies below `trees/` is counted for each ISO as a whole.
    pub files: Vec<File>,
    /// The block cache.
    pub cache: Cache,
    /// How often something was answered with an error, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Machines that booted from here, the last one first.
    pub machines: Vec<Machine>,
    /// The last boots, the last one first.
    pub boots: Vec<Boot>,
    /// Programs that opened files for others, by name.
    pub servers: Vec<Server>,
}

/// An ISO that is served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iso {
    /// Label.
    pub label: String,
    /// File name.
    pub file: String,
    /// Title of its row in the menus.
    pub title: String,
    /// Size in bytes.
    pub size: u64,
    /// Family.
    pub family: String,
    /// How its root comes to the machine; `None` if it is in no menu.
    pub boots_by: Option<String>,
    /// Why it is in no menu, or what stands in the way of a boot: a sentence.
    pub caveat: Option<String>,
    /// The same as a word that stays.
    pub caveat_code: Option<String>,
    /// The look into its initrd: `waiting`, `done`, or `damaged`, which was done as far as it can be read.
    pub initrd: String,
    /// What was found there.
    pub initrd_can: Option<String>,
}

/// A file that is not served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// File name.
    pub file: String,
    /// Why: a sentence.
    pub reason: String,
    /// The same as a word that stays.
    pub code: String,
    /// Whether it may yet become whole by itself.
    pub pending: bool,
}

/// A file that was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Path in the tree.
    pub path: String,
    /// Handles that are open now.
    pub open: u64,
    /// How often it was opened and the kernel read it by itself.
    pub opens_kernel: u64,
    /// How often it was opened and netrootfs was asked for its bytes.
    pub opens_cache: u64,
    /// The bytes that netrootfs was asked for. What the kernel reads by itself is not seen.
    pub read_bytes: u64,
}

/// The block cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// Most bytes that blocks may take.
    pub limit_bytes: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Most that they ever took.
    pub peak_bytes: u64,
    /// Blocks that a reader found.
    pub hits: u64,
    /// Blocks that a reader found on their way, and waited for.
    pub waits: u64,
    /// Blocks that a reader had to read.
    pub misses: u64,
    /// Blocks that made room for others.
    pub evictions: u64,
    /// Bytes read from the ISOs.
    pub source_read_bytes: u64,
    /// Blocks read ahead.
    pub read_aheads: u64,
    /// Of these, the ones that a reader then asked for.
    pub read_aheads_used: u64,
}

/// A machine that booted, or began to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its addresses, the last one first.
    pub addresses: Vec<String>,
    /// Its network card, if a loader has named it.
    pub mac: Option<String>,
    /// Its UUID, if a loader has named it.
    pub uuid: Option<String>,
    /// The loader that asked for a menu last.
    pub loader: Option<String>,
    /// What netroot-init has said last.
    pub step: Option<Step>,
    /// When it was seen first.
    pub first_seen: u64,
    /// When it asked for something last.
    pub last_seen: u64,
    /// The kernel that it fetched last.
    pub kernel: Option<Fetched>,
    /// The initrds that it fetched since.
    pub initrds: Vec<Fetched>,
    /// The image that it attached since, or the last one.
    pub root: Option<Root>,
    /// Whether it has an image open now.
    pub connected: bool,
}

/// What netroot-init has said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// [What it has done](step::Step::code): a word that stays.
    pub code: String,
    /// When it said so.
    pub time: u64,
}

/// A file that a machine fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Path in the tree.
    pub path: String,
    /// When.
    pub time: u64,
}

/// An image that a machine attached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Path in the tree.
    pub path: String,
    /// When.
    pub time: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes that netrootfs was asked for, twice what was read twice; `None` where the kernel reads by itself.
    pub read_bytes: Option<u64>,
}

/// A boot: a kernel that a machine fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// When.
    pub time: u64,
    /// The machine's address then.
    pub address: String,
    /// Its network card, if a loader had named it.
    pub mac: Option<String>,
    /// The kernel's path in the tree.
    pub kernel: String,
    /// Path of the image that it attached then.
    pub root: Option<String>,
}

/// A program that opened files for others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Files of which it is known for which machine it opened them.
    pub opens: u64,
    /// Files of which it isn't: one process serves many machines.
    pub opens_hidden: u64,
}

/// As `status.json` has it.
pub fn json(status: &Status) -> String {
    // Strings, numbers and lists have no way to fail.
    serde_json::to_string_pretty(status).unwrap_or_default() + "\n"
}

impl Machine {
    /// What to call it: by its last address, else by its card or UUID.
    pub fn name(&self) -> &str {
        let names = [self.addresses.first(), self.mac.as_ref(), self.uuid.as_ref()];
        names.into_iter().flatten().next().map_or("?", String::as_str)
    }
}

/// So many bytes, in a few letters: `1.9 GB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut size = count as f64 / 1e3;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1e3;
        unit += 1;
    }
    let unit = UNITS.get(unit).unwrap_or(&"");
    if size < 9.95 { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") }
}

/// The time from one moment to another, in a few letters: `3 min`.
pub fn span(from: u64, to: u64) -> String {
    match to.saturating_sub(from) {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

impl Step {
    /// A few words for people. One that a newer program knows stays as it is.
    fn words(&self) -> String {
        self.code.parse::<step::Step>().map_or_else(|_| self.code.clone(), |step| step.to_string())
    }
}

/// What a machine reads, as far as it is known.
fn progress(root: &Root) -> String {
    match root.read_bytes {
        None => "read by the kernel".into(),
        Some(read) => format!("{} read", bytes(read)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn status() -> Status {
        Status {
            schema: SCHEMA,
            version: "1.2.3".into(),
            time: 1_800_000_000,
            started: 1_799_990_000,
            takeovers: 1,
            mountpoint: "/srv/netboot".into(),
            iso_directory: "/srv/isos".into(),
            iso_directory_readable: true,
            server: Some("10.0.0.1".into()),
            data_path: "cache".into(),
            snapshot: 1_799_999_000,
            isos: vec![
                Iso {
                    label: "F42".into(),
                    file: "fedora.iso".into(),
                    title: "F42: <script>alert(\"1 & 2\")</script>".into(),
                    size: 2_100_000_000,
                    family: "LiveOS".into(),
                    boots_by: Some("NBD".into()),
                    caveat: None,
                    caveat_code: None,
                    initrd: "done".into(),
                    initrd_can: Some("dracut 104, nbd".into()),
                },
                Iso {
                    label: "Odd".into(),
                    file: "a\"b\\c.iso".into(),
                    title: "Odd".into(),
                    size: 1,
                    family: "generic".into(),
                    caveat: Some("there is nothing in it to boot".into()),
                    caveat_code: Some("nothing-to-boot".into()),
                    initrd: "waiting".into(),
                    ..Iso::default()
                },
            ],
            left_out: vec![LeftOut {
                file: "junk.iso".into(),
                reason: "it is not an ISO 9660 image".into(),
                code: "not-an-iso".into(),
                pending: false,
            }],
            files: vec![File {
                path: "images/liveos_F42.img".into(),
                open: 1,
                opens_kernel: 2,
                opens_cache: 3,
                read_bytes: 44,
            }],
            cache: Cache {
                limit_bytes: 256 << 20,
                bytes: 128 << 20,
                hits: 10,
                misses: 5,
                ..Cache::default()
            },
            errors: BTreeMap::from([("not-found".into(), 7), ("read-failed".into(), 0)]),
            machines: vec![
                Machine {
                    addresses: vec!["10.0.0.100".into()],
                    mac: Some("52:54:00:12:34:56".into()),
                    uuid: Some("4c4c4544-0042-3510-8052-b4c04f4d3732".into()),
                    loader: Some("pxelinux".into()),
                    step: Some(Step { code: "init".into(), time: 1_799_999_941 }),
                    first_seen: 1_799_999_000,
                    last_seen: 1_799_999_940,
                    kernel: Some(Fetched { path: "tftp/vmlinuz_F42".into(), time: 1_799_999_900 }),
                    initrds: vec![Fetched { path: "tftp/initrd_F42.img".into(), time: 1_799_999_910 }],
                    root: Some(Root {
                        path: "images/liveos_F42.img".into(),
                        time: 1_799_999_940,
                        size: 2_000_000_000,
                        read_bytes: Some(350_000_000),
                    }),
                    connected: true,
                },
                Machine { mac: Some("52:54:00:00:00:01".into()), ..Machine::default() },
            ],
            boots: vec![Boot {
                time: 1_799_999_900,
                address: "10.0.0.100".into(),
                mac: Some("52:54:00:12:34:56".into()),
                kernel: "tftp/vmlinuz_F42".into(),
                root: Some("images/liveos_F42.img".into()),
            }],
            servers: vec![Server { name: "nbdkit".into(), opens: 0, opens_hidden: 2 }],
        }
    }

    #[test]
    fn json_is_read_back_as_it_was() {
        let text = json(&status());
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status());
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [0, 999, 1000, 9_949, 9_950, 123_456, 999_499, 999_500, 2_100_000_000, u64::MAX];
        let short = sizes.map(bytes);
        let wanted = ["0 B", "999 B", "1.0 kB", "9.9 kB", "10 kB", "123 kB", "999 kB", "1.0 MB", "2.1 GB"];
        assert_eq!(short[..9], wanted);
        assert_eq!(short[9], "18447 PB");
        let times = [0, 119, 120, 7199, 7200, 172_799, 172_800].map(|seconds| span(5, 5 + seconds));
        assert_eq!(times, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]);
        assert_eq!(span(9, 5), "0 s", "clocks go back");
    }
}

//! Entries that read the whole medium to verify it before, or instead of, booting: known by argument or title.

use super::MenuEntry;

impl MenuEntry {
    /// True if the entry reads the whole medium to verify it before, or instead of, booting.
    #[must_use]
    pub fn checks_media(&self) -> bool {
        self.args.iter().any(|arg| argument_checks_media(&arg.to_string())) || title_checks_media(&self.title)
    }
}

/// Arguments that start a media check: dracut and Anaconda, archiso and SystemRescue, casper and live-boot, the Debian
/// installer, openSUSE, antiX, genkernel, KNOPPIX. archiso's `cms_verify` checks a signature only.
const CHECK_ARGUMENTS: [&str; 12] = [
    "rd.live.check",
    "mediacheck",
    "inst.mediacheck",
    "checksum",
    "verify",
    "integrity-check",
    "verify-checksums",
    "checkmd5",
    "md5check",
    "testcd",
    "check_medium",
    "menu=/bin/cdrom-checker-menu",
];

fn argument_checks_media(argument: &str) -> bool {
    let argument = argument.to_ascii_lowercase();
    if CHECK_ARGUMENTS.contains(&argument.as_str()) {
        return true;
    }
    let Some((key, value)) = argument.split_once('=') else {
        return false;
    };
    CHECK_ARGUMENTS.contains(&key) && !matches!(value, "0" | "n" | "no" | "off" | "false")
}

fn title_checks_media(title: &str) -> bool {
    let title = title.to_lowercase();
    let words: Vec<&str> = title.split(|c: char| !c.is_alphanumeric()).collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let names_medium = has(&["media", "medium", "iso", "disk", "cd", "dvd"]);
    (has(&["check", "test", "verify", "verifies"]) && names_medium)
        || has(&["mediacheck", "checksum", "defects"])
        || (has(&["integrity"]) && has(&["check", "test", "verify"]))
}

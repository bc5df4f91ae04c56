//! The report of `check` for people: a paragraph an ISO, then what is wrong, each said once and within 80 columns.

use std::fmt;

use textwrap::{Options, WordSplitter, WrapAlgorithm};

use super::{Archive, NotOffered, Report, Served, Uefi};
use crate::boot::transport::{Export, Transport};

/// Columns of a line; only a word that is longer goes beyond.
const WIDTH: usize = 80;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, iso) in self.served.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            self.write_iso(f, iso)?;
        }
        for (heading, is_copy) in [("Not served", false), ("Not served yet", true)] {
            let refused = self.refused.iter().filter(|refused| refused.is_copy_under_way == is_copy);
            section(f, heading, refused.map(|refused| format!("{}: {}", refused.file, refused.reason)))?;
        }
        section(f, "This host", self.host.iter().cloned())?;
        section(f, "Unknown names", self.unknown.iter().cloned())?;
        if !(self.served.is_empty() && self.refused.is_empty()) {
            writeln!(f)?;
        }
        line(f, 0, &self.summary())
    }
}

impl Report {
    fn write_iso(&self, f: &mut fmt::Formatter<'_>, iso: &Served) -> fmt::Result {
        line(f, 0, &format!("{} ({}): {}, {}", iso.label, iso.file, iso.family, iso.way()))?;
        iso.write_files(f)?;
        if let Some(args) = iso.args.as_deref().filter(|args| !args.is_empty()) {
            line(f, 1, &format!("arguments: {args}"))?;
        }
        if let Some(Archive { size, holds }) = &iso.netroot {
            line(f, 1, &format!("netroot: {size} bytes; {holds}"))?;
        }
        // What attaches its root by itself doesn't miss it, and what this host lacks is said below.
        let lacks = |reason: &&String| self.host.iter().any(|sentence| sentence.ends_with(reason.as_str()));
        let reason = iso.no_netroot.as_ref().filter(|reason| !iso.boots_by_nbd() && !lacks(reason));
        if let Some(reason) = reason {
            line(f, 1, &format!("no netroot: {reason}"))?;
        }
        if iso.entries > 1 || !iso.not_offered.is_empty() {
            line(f, 1, &format!("menu: {} entries, {} left out", iso.entries, iso.not_offered.len()))?;
        }
        for NotOffered { title, reason, .. } in &iso.not_offered {
            line(f, 2, &format!("left out: {title}: {reason}"))?;
        }
        iso.uefi.iter().try_for_each(|uefi| line(f, 1, &format!("UEFI {uefi}")))?;
        let unwritable = iso.unwritable.iter().map(|entry| format!("not offered: {}", entry.reason));
        let caveat = iso.caveat.iter().map(|caveat| format!("but: {caveat}"));
        let verified = iso.verified.iter().map(ToString::to_string);
        unwritable.chain(caveat).chain(verified).try_for_each(|text| line(f, 1, &text))
    }

    /// How many ISOs there are, and what boots by itself.
    fn summary(&self) -> String {
        let count = match self.served.len() {
            0 => "No ISOs".to_owned(),
            1 => "1 ISO".to_owned(),
            more => format!("{more} ISOs"),
        };
        let left_out = match self.refused.len() {
            0 => String::new(),
            more => format!(", {more} left out"),
        };
        let by_itself = match (self.by_itself.as_str(), self.timeout) {
            ("none", _) | (_, 0) => "nothing boots by itself".to_owned(),
            ("local", seconds) => format!("the local disk boots by itself after {seconds} s"),
            (label, seconds) => format!("{label} boots by itself after {seconds} s"),
        };
        format!("{count}{left_out}; {by_itself}.")
    }
}

impl Served {
    fn way(&self) -> String {
        match (self.transport, &self.export) {
            (Some(transport), Some(export)) => format!("boots by {transport} [{export}]"),
            (Some(transport), None) if transport == Transport::Own.name() => {
                "boots in a way of its own".into()
            }
            (Some(transport), None) => format!("boots by {transport}"),
            (None, _) => "no entry in the menus".into(),
        }
    }

    fn write_files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kernel != "-" {
            line(f, 1, &format!("kernel: {}", self.kernel))?;
        }
        if !self.initrds.is_empty() {
            line(f, 1, &format!("initrd: {} ({})", self.initrds.join(" "), self.initrd_can))?;
        }
        if let Some(root) = &self.root {
            let what = format!("{}, {} bytes at {}", root.format, root.size, root.offset);
            line(f, 1, &format!("root image: {} ({what})", root.path))?;
        }
        Ok(())
    }

    fn boots_by_nbd(&self) -> bool {
        self.transport == Some(Transport::Nbd(Export::Iso).name())
    }
}

impl fmt::Display for Uefi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.signed { "signed shim and GRUB" } else { "GRUB, not signed for Secure Boot" };
        write!(f, "{}: {what}", self.arch)?;
        match self.network {
            true => write!(f, ", boots by TFTP as {}", self.loader),
            false => f.write_str(", without TFTP: of use on a disc only"),
        }
    }
}

/// A heading and its lines, if there are any.
fn section(f: &mut fmt::Formatter<'_>, heading: &str, lines: impl Iterator<Item = String>) -> fmt::Result {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        writeln!(f, "\n{heading}:")?;
    }
    lines.try_for_each(|text| line(f, 1, &text))
}

/// A line, so many steps from the left, and what doesn't fit on further ones.
fn line(f: &mut fmt::Formatter<'_>, depth: usize, text: &str) -> fmt::Result {
    let (first, further) = ("  ".repeat(depth), "  ".repeat(depth + 1));
    let options = Options::new(WIDTH)
        .initial_indent(&first)
        .subsequent_indent(&further)
        .break_words(false)
        .wrap_algorithm(WrapAlgorithm::FirstFit)
        .word_splitter(WordSplitter::NoHyphenation);
    writeln!(f, "{}", textwrap::fill(text, options))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{report, served};
    use super::super::verify::{Outcome, Verified};
    use super::*;

    #[test]
    fn a_report_is_a_paragraph_an_iso_and_what_is_wrong() {
        assert_eq!(
            report().to_string(),
            "\
F42 (fedora.iso): LiveOS, boots by NBD [F42]
  kernel: /images/pxeboot/vmlinuz
  initrd: /images/pxeboot/initrd.img (dracut 104, nbd)
  root image: /LiveOS/squashfs.img (squashfs, 1900000000 bytes at 129024)
  arguments: root=live:/dev/nbd0 quiet
  menu: 3 entries, 1 left out
    left out: Restart: halts, restarts or leaves the boot loader
  UEFI x64: signed shim and GRUB, boots by TFTP as efi/F42/bootx64.efi

Käse (other.iso): generic, boots in a way of its own
  kernel: /k
  initrd: /a /b (nothing that is known)
  netroot: 680000 bytes; nbd out of /x
  not offered: 'Start' by GRUB: 'a\\x20b' would get more backslashes
  but: how it would boot over a network is not known

Not served:
  junk.iso: it is not an ISO 9660 image

This host:
  no pxelinux.0 is installed

Unknown names:
  --label: there is no file 'x.iso'

2 ISOs, 1 left out; F42 boots by itself after 10 s.
"
        );
    }

    #[test]
    fn a_report_of_nothing_is_a_line() {
        let report = Report {
            served: Vec::new(),
            refused: Vec::new(),
            host: Vec::new(),
            unknown: Vec::new(),
            by_itself: "local".into(),
            timeout: 10,
        };
        assert_eq!(report.to_string(), "No ISOs; the local disk boots by itself after 10 s.\n");
    }

    #[test]
    fn no_line_is_longer_than_80_columns_but_for_a_word() {
        let long = format!("/{}", "n".repeat(100));
        let served = Served {
            kernel: long.clone(),
            args: Some("some-argument=of-some-length ".repeat(12)),
            caveat: Some("a sentence about it ".repeat(9)),
            verified: Some(Verified {
                outcome: Outcome::Damaged,
                sums: vec!["SHA256SUMS".into(), "Fedora-Workstation-42-1.1-x86_64-CHECKSUM".into()],
                error: None,
            }),
            ..served()
        };
        let host = vec!["this host has no loader and needs one ".repeat(4)];
        let text = Report { served: vec![served], host, ..report() }.to_string();
        let longer: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
        assert_eq!(longer, [format!("    {long}")]);
        assert!(text.contains("DAMAGED") && text.lines().count() > 20, "{text}");
    }

    #[test]
    fn what_the_host_lacks_is_not_said_again_of_each_iso() {
        let lacking = || Served {
            transport: None,
            no_netroot: Some("netroot-init-x86_64 is not installed".into()),
            ..served()
        };
        let host = vec!["unmodified ISOs can't boot over NBD: netroot-init-x86_64 is not installed".into()];
        let text = Report { served: vec![lacking(), lacking()], host, ..report() }.to_string();
        assert_eq!(text.matches("netroot-init").count(), 1, "{text}");
    }
}

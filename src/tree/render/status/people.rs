//! Lines for a terminal of 80 columns.

use std::fmt::Write as _;

use super::{Machine, Status, bytes, progress, span};

/// Characters in a line.
const WIDTH: usize = 80;

/// The lines.
pub fn people(status: &Status) -> String {
    let lines = summary(status).into_iter().chain(isos(status)).chain(machines(status));
    lines.fold(String::new(), |mut out, line| {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{}", cut(&line, WIDTH));
        out
    })
}

/// What is said of the mount as a whole.
pub fn summary(status: &Status) -> Vec<String> {
    let Status { version, mountpoint, time, .. } = status;
    let up = span(status.started, *time);
    let takeovers = match status.takeovers {
        0 => String::new(),
        1 => ", taken over once".into(),
        more => format!(", taken over {more} times"),
    };
    let readable = if status.iso_directory_readable { "" } else { ", which can't be read" };
    let (isos, left_out) = (status.isos.len(), status.left_out.len());
    let cache = &status.cache;
    let asked = cache.hits + cache.waits + cache.misses;
    let hits = (cache.hits * 100).checked_div(asked).map_or(String::new(), |hits| format!(", {hits} % hits"));
    let path = if status.data_path == "kernel" { "by the kernel; " } else { "" };
    let errors: Vec<String> = status
        .errors
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let server = status.server.as_deref().unwrap_or("no address: loaders use their own name for it");
    vec![
        format!("netrootfs {version} on {mountpoint}, up {up}{takeovers}"),
        format!("ISOs      {isos} of {}{readable}, {left_out} left out", status.iso_directory),
        format!("tree      from {} ago", span(status.snapshot, *time)),
        format!("menus     {server}"),
        format!("read      {path}cache {} of {}{hits}", bytes(cache.bytes), bytes(cache.limit_bytes)),
        format!("errors    {}", if errors.is_empty() { "none".into() } else { errors.join(", ") }),
    ]
}

fn isos(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if !status.isos.is_empty() {
        lines.push(String::new());
        lines.push(format!("{:<32} {:>7}  {}", "ISO", "SIZE", "BOOTS BY"));
    }
    for iso in &status.isos {
        let by = iso.boots_by.as_deref().unwrap_or("not at all");
        lines.push(format!("{:<32} {:>7}  {by}", cut(&iso.label, 32), bytes(iso.size)));
        lines.extend(iso.caveat.iter().flat_map(|caveat| wrapped(caveat)));
        lines.extend((iso.initrd == "waiting").then(|| "    its initrd is yet to be looked into".to_owned()));
    }
    if !status.left_out.is_empty() {
        lines.extend([String::new(), "NOT SERVED".into()]);
    }
    for file in &status.left_out {
        lines.push(file.file.clone());
        lines.extend(wrapped(&file.reason));
    }
    lines
}

fn machines(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if !status.machines.is_empty() {
        lines.push(String::new());
        lines.push(format!("{:<17} {:<17} {:>7}  {}", "MACHINE", "CARD", "SEEN", "BOOTS"));
    }
    for machine in &status.machines {
        lines.push(row(machine, status.time));
        lines.extend(
            machine.step.iter().map(|step| {
                format!("    netroot-init {}, {} ago", step.words(), span(step.time, status.time))
            }),
        );
    }
    for server in status.servers.iter().filter(|server| server.opens_hidden > 0) {
        lines.push(format!("{} hides which machine reads what", server.name));
    }
    lines
}

fn row(machine: &Machine, now: u64) -> String {
    let kernel = machine.kernel.as_ref().map(|kernel| file_name(&kernel.path).to_owned());
    let root = machine.root.as_ref().map(|root| {
        let gone = if machine.connected { "" } else { ", gone" };
        format!("{}{gone}", progress(root))
    });
    let boots: Vec<String> = kernel.into_iter().chain(root).collect();
    let boots = if boots.is_empty() { "has asked for a menu".into() } else { boots.join(", ") };
    let card = machine.mac.as_deref().unwrap_or("-");
    let seen = span(machine.last_seen, now);
    format!("{:<17} {card:<17} {seen:>7}  {boots}", cut(machine.name(), 17))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A sentence in indented lines.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("    {word}")),
        }
    }
    lines
}

/// At most so many characters, none of which a terminal takes for a command.
fn cut(text: &str, most: usize) -> String {
    let shown = |character: char| if character.is_control() { '?' } else { character };
    match text.char_indices().nth(most) {
        None => text.chars().map(shown).collect(),
        Some(_) => text.chars().take(most.saturating_sub(1)).map(shown).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::status;
    use super::*;

    #[test]
    fn all_of_it_is_in_lines_of_eighty() {
        assert_eq!(
            people(&status()),
            "\
netrootfs 1.2.3 on /srv/netboot, up 2 h, taken over once
ISOs      2 of /srv/isos, 1 left out
tree      from 16 min ago
menus     10.0.0.1
read      cache 134 MB of 268 MB, 66 % hits
errors    7 not-found

ISO                                 SIZE  BOOTS BY
F42                               2.1 GB  NBD
Odd                                  1 B  not at all
    there is nothing in it to boot
    its initrd is yet to be looked into

NOT SERVED
junk.iso
    it is not an ISO 9660 image

MACHINE           CARD                 SEEN  BOOTS
10.0.0.100        52:54:00:12:34:56    60 s  vmlinuz_F42, 350 MB read
    netroot-init has begun the ISO's own init, 59 s ago
52:54:00:00:00:01 52:54:00:00:00:01 20833 d  has asked for a menu
nbdkit hides which machine reads what
"
        );
    }

    #[test]
    fn long_sentences_become_several_lines() {
        let lines = wrapped(&"word ".repeat(20));
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [4 + 15 * 5 - 1, 4 + 5 * 5 - 1]);
    }

    #[test]
    fn no_line_is_longer_and_none_has_a_command() {
        let mut status = status();
        status.left_out[0].reason = "x\u{1b}[2J".repeat(40);
        status.isos[0].label = "L".repeat(90);
        status.machines[0].addresses = vec!["fd00:1111:2222:3333:4444:5555:6666:7777".into()];
        let text = people(&status);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}

//! Metrics in the text format of OpenMetrics 1.0, which the older one of Prometheus understands too: node_exporter takes
//! them as a text file.
//!
//! So there is nothing in it that only one of them knows: `info` is a gauge that is 1. Machines are counted and not named;
//! they would be a series each for ever.

use std::fmt::{Display, Write as _};

use super::Status;

/// Labels of a sample, with their values.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text, with the line that says that it is whole.
pub fn metrics(status: &Status) -> String {
    let mut out = Text(String::new());
    about(&mut out, status);
    isos(&mut out, status);
    files(&mut out, status);
    cache(&mut out, status);
    out.family("netrootfs_errors", "counter", "Requests answered with an error.");
    for (kind, count) in &status.errors {
        out.sample("netrootfs_errors_total", &[("kind", kind)], count);
    }
    machines(&mut out, status);
    out.0 + "# EOF\n"
}

fn about(out: &mut Text, status: &Status) {
    out.family("netrootfs_build_info", "gauge", "The program that serves the mount.");
    let labels = [("version", status.version.as_str()), ("data_path", &status.data_path)];
    out.sample("netrootfs_build_info", &labels, 1);
    let times = [
        ("netrootfs_start_time_seconds", "When the process began.", status.started),
        ("netrootfs_snapshot_time_seconds", "When the tree became what it is.", status.snapshot),
    ];
    for (name, help, value) in times {
        out.family(name, "gauge", help);
        out.sample(name, &[], value);
    }
    out.family("netrootfs_takeovers", "counter", "Processes that served the mount before this one.");
    out.sample("netrootfs_takeovers_total", &[], status.takeovers);
}

fn isos(out: &mut Text, status: &Status) {
    let name = "netrootfs_iso_directory_readable";
    out.family(name, "gauge", "Whether the directory of ISOs could be read when it was looked at last.");
    out.sample(name, &[], u8::from(status.iso_directory_readable));
    out.family("netrootfs_isos", "gauge", "ISOs that are served.");
    out.sample("netrootfs_isos", &[], status.isos.len());
    out.family("netrootfs_isos_left_out", "gauge", "Files that are not served.");
    out.sample("netrootfs_isos_left_out", &[], status.left_out.len());
    out.family("netrootfs_iso_bootable", "gauge", "Whether the ISO is in a menu.");
    for iso in &status.isos {
        let by = iso.boots_by.as_deref();
        let code = iso.caveat_code.as_deref().unwrap_or_default();
        let labels = [("label", iso.label.as_str()), ("boots_by", by.unwrap_or_default()), ("caveat", code)];
        out.sample("netrootfs_iso_bootable", &labels, u8::from(by.is_some()));
    }
    out.family("netrootfs_iso_initrd_known", "gauge", "Whether the ISO's initrd has been looked into.");
    for iso in &status.isos {
        let known = u8::from(iso.initrd != "waiting");
        out.sample("netrootfs_iso_initrd_known", &[("label", &iso.label)], known);
    }
    out.family("netrootfs_iso_size_bytes", "gauge", "Size of the ISO.");
    for iso in &status.isos {
        out.sample("netrootfs_iso_size_bytes", &[("label", &iso.label)], iso.size);
    }
    out.family("netrootfs_iso_left_out", "gauge", "A file that is not served.");
    for file in &status.left_out {
        let labels = [("file", file.file.as_str()), ("code", &file.code)];
        out.sample("netrootfs_iso_left_out", &labels, 1);
    }
}

fn files(out: &mut Text, status: &Status) {
    out.family("netrootfs_file_opens", "counter", "How often a file was opened.");
    for file in &status.files {
        for (path, opens) in [("kernel", file.opens_kernel), ("cache", file.opens_cache)] {
            let labels = [("file", file.path.as_str()), ("data_path", path)];
            out.sample("netrootfs_file_opens_total", &labels, opens);
        }
    }
    let help = "Bytes of a file that netrootfs was asked for; what the kernel reads by itself is not seen.";
    out.family("netrootfs_file_read_bytes", "counter", help);
    for file in &status.files {
        out.sample("netrootfs_file_read_bytes_total", &[("file", &file.path)], file.read_bytes);
    }
    out.family("netrootfs_file_handles", "gauge", "How many handles of a file are open.");
    for file in &status.files {
        out.sample("netrootfs_file_handles", &[("file", &file.path)], file.open);
    }
}

fn cache(out: &mut Text, status: &Status) {
    let cache = &status.cache;
    let gauges = [
        ("netrootfs_cache_limit_bytes", "Most bytes that blocks of ISOs may take.", cache.limit_bytes),
        ("netrootfs_cache_bytes", "Bytes that blocks of ISOs take.", cache.bytes),
        ("netrootfs_cache_peak_bytes", "Most bytes that blocks of ISOs ever took.", cache.peak_bytes),
    ];
    for (name, help, value) in gauges {
        out.family(name, "gauge", help);
        out.sample(name, &[], value);
    }
    let counters = [
        ("hits", "Blocks that a reader found.", cache.hits),
        ("waits", "Blocks that a reader found on their way, and waited for.", cache.waits),
        ("misses", "Blocks that a reader had to read.", cache.misses),
        ("evictions", "Blocks that made room for others.", cache.evictions),
        ("source_read_bytes", "Bytes read from the ISOs.", cache.source_read_bytes),
        ("read_aheads", "Blocks read ahead.", cache.read_aheads),
        ("read_aheads_used", "Blocks read ahead that a reader then asked for.", cache.read_aheads_used),
    ];
    for (name, help, value) in counters {
        out.family(&format!("netrootfs_cache_{name}"), "counter", help);
        out.sample(&format!("netrootfs_cache_{name}_total"), &[], value);
    }
}

fn machines(out: &mut Text, status: &Status) {
    out.family("netrootfs_machines", "gauge", "Machines that are remembered.");
    out.sample("netrootfs_machines", &[], status.machines.len());
    out.family("netrootfs_machines_connected", "gauge", "Machines that have an image open.");
    let connected = status.machines.iter().filter(|machine| machine.connected).count();
    out.sample("netrootfs_machines_connected", &[], connected);
    out.family("netrootfs_server_opens", "counter", "Files that a program opened for machines.");
    for server in &status.servers {
        for (known, opens) in [("yes", server.opens), ("no", server.opens_hidden)] {
            let labels = [("server", server.name.as_str()), ("machine_known", known)];
            out.sample("netrootfs_server_opens_total", &labels, opens);
        }
    }
}

/// The text in the making. Writing to a String can't fail.
struct Text(String);

impl Text {
    /// The head of a family. A unit is in its name.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit)) {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name} {}", escape(help));
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// As a value of a label, and a help, has it (OpenMetrics, `escaped-string`).
fn escape(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::super::tests::status;
    use super::*;
    use proptest::prelude::*;

    /// A family: its kind, and the samples as they are written, by name with labels.
    type Families = BTreeMap<String, (String, HashMap<String, f64>)>;

    /// Reads the text by the grammar of OpenMetrics, as far as it is used: each family once and with its metadata first,
    /// samples of no other family in between, each set of labels once, and the end.
    fn parse(text: &str) -> Families {
        let body = text.strip_suffix("# EOF\n").expect("the end");
        let mut families = Families::new();
        let mut now = String::new();
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["gauge", "counter"].contains(&kind), "{line}");
                assert!(is_name(name), "{line}");
                let before = families.insert(name.into(), (kind.into(), HashMap::new()));
                assert!(before.is_none(), "twice: {name}");
                now = name.into();
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, unit) = rest.split_once(' ').unwrap();
                assert!(name == now && name.ends_with(&format!("_{unit}")), "{line}");
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                assert_eq!(rest.split_once(' ').unwrap().0, now);
            } else {
                let (kind, samples) = families.get_mut(&now).unwrap();
                let suffix = if kind == "counter" { "_total" } else { "" };
                let (key, value) = sample(line);
                let name = key.split('{').next().unwrap();
                assert_eq!(name, format!("{now}{suffix}"));
                assert!(samples.insert(key, value).is_none(), "twice: {line}");
            }
        }
        families
    }

    fn is_name(name: &str) -> bool {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    }

    /// Name with labels as they were before they were escaped, and the value.
    fn sample(line: &str) -> (String, f64) {
        let end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(end);
        assert!(is_name(name), "{line}");
        let mut key = name.to_owned() + "{";
        if let Some(labels) = rest.strip_prefix('{') {
            rest = labels;
            loop {
                let (label, value) = rest.split_once("=\"").unwrap();
                assert!(is_name(label), "{line}");
                let (value, after) = unescape(value);
                key += &format!("{label}={value};");
                rest = after;
                match rest.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => break,
                }
            }
            rest = rest.strip_prefix('}').unwrap();
        }
        (key, rest.strip_prefix(' ').unwrap().parse().unwrap())
    }

    /// Up to the quote that ends it.
    fn unescape(text: &str) -> (String, &str) {
        let mut value = String::new();
        let mut characters = text.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => return (value, &text[at + 1..]),
                '\\' => match characters.next().unwrap().1 {
                    'n' => value.push('\n'),
                    same @ ('\\' | '"') => value.push(same),
                    other => panic!("\\{other}"),
                },
                other => value.push(other),
            }
        }
        panic!("no end: {text}")
    }

    #[test]
    fn each_value_is_found_under_its_name() {
        let families = parse(&metrics(&status()));
        let value = |family: &str, key: &str| families[family].1[key];
        assert_eq!(value("netrootfs_takeovers", "netrootfs_takeovers_total{"), 1.0);
        assert_eq!(value("netrootfs_isos", "netrootfs_isos{"), 2.0);
        let file = "file=images/liveos_F42.img;";
        let opens = |path: &str| format!("netrootfs_file_opens_total{{{file}data_path={path};");
        assert_eq!(value("netrootfs_file_opens", &opens("kernel")), 2.0);
        assert_eq!(value("netrootfs_file_opens", &opens("cache")), 3.0);
        let read = format!("netrootfs_file_read_bytes_total{{{file}");
        assert_eq!(value("netrootfs_file_read_bytes", &read), 44.0);
        assert_eq!(value("netrootfs_errors", "netrootfs_errors_total{kind=not-found;"), 7.0);
        assert_eq!(value("netrootfs_machines_connected", "netrootfs_machines_connected{"), 1.0);
        let left_out = "netrootfs_iso_left_out{file=junk.iso;code=not-an-iso;";
        assert_eq!(value("netrootfs_iso_left_out", left_out), 1.0);
    }

    #[test]
    fn nothing_is_a_text_too() {
        assert!(parse(&metrics(&Status::default())).len() > 20);
    }

    proptest! {
        #[test]
        fn names_of_files_are_read_back_as_they_were(name in any::<String>()) {
            let mut status = status();
            status.left_out[0].file = name.clone();
            let families = parse(&metrics(&status));
            let key = format!("netrootfs_iso_left_out{{file={name};code=not-an-iso;");
            prop_assert!(families["netrootfs_iso_left_out"].1.contains_key(&key));
        }
    }
}

//! The page about it names what there is.

use std::collections::BTreeSet;

use netrootfs::cli::manual::Page;
use netrootfs::serve::usage::Usage;
use netrootfs::tree::render::status::{
    Boot, Fetched, File, Iso, LeftOut, Machine, Root, Server, Status, Step, json, metrics,
};

/// A status with one of everything.
fn full() -> Status {
    let fetched = Fetched::default();
    let machine = Machine {
        kernel: Some(fetched.clone()),
        initrds: vec![fetched],
        root: Some(Root::default()),
        step: Some(Step::default()),
        ..Machine::default()
    };
    Status {
        isos: vec![Iso::default()],
        left_out: vec![LeftOut::default()],
        files: vec![File::default()],
        machines: vec![machine],
        boots: vec![Boot::default()],
        servers: vec![Server::default()],
        errors: Usage::default().errors().map(|(kind, count)| (kind.to_owned(), count)).collect(),
        ..Status::default()
    }
}

/// The paths of all keys: `isos.label`.
fn keys(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                found.insert(path.clone());
                keys(value, &path, found);
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| keys(value, path, found)),
        _ => {}
    }
}

/// The first cells of a table's rows in a section.
fn rows(section: &str) -> BTreeSet<String> {
    let page = Page::find("netrootfs-status").unwrap();
    let (_, text) = page.source.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.map(str::to_owned).collect()
}

#[test]
fn each_key_of_the_status_is_in_the_manual() {
    let mut found = BTreeSet::new();
    keys(&serde_json::from_str(&json(&full())).unwrap(), "", &mut found);
    assert!(found.len() > 50, "{found:?}");
    assert_eq!(rows("status.json"), found);
}

#[test]
fn each_metric_is_in_the_manual() {
    let text = metrics(&full());
    let names = text.lines().filter(|line| !line.starts_with('#'));
    let names: BTreeSet<String> =
        names.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
    assert!(names.len() > 20, "{names:?}");
    assert_eq!(rows("Metrics"), names);
}

//! `netrootfs check --against`: the ISOs of two servers, compared.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use testkit::disc::Disc;

use crate::support::nginx::Nginx;
use crate::support::place::Place;

fn check(place: &Place, against: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.arg("check").arg(place.iso("")).arg("--against").arg(against).args(more);
    command.args(["--server", "10.0.0.1"]).output().unwrap()
}

/// Codes by name, and labels that are the same.
fn compared(place: &Place, against: &Path) -> (Vec<(String, String)>, Vec<String>, Option<i32>) {
    let output = check(place, against, &["--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = |name: &str| json["against"][name].as_array().unwrap().clone();
    let differences =
        list("differences").iter().map(|one| (text(&one["name"]), text(&one["code"]))).collect();
    (differences, list("same").iter().map(text).collect(), output.status.code())
}

#[test]
fn copies_under_other_names_are_the_same() {
    let (here, there) = (Place::new(), Place::new());
    for (number, label) in [(1, "One"), (2, "Two")] {
        here.put(&format!("{label}.iso"), &Disc::new(label, number));
        there.put(&format!("copy-of-{label}.iso"), &Disc::new(label, number));
    }
    assert_eq!(compared(&here, &there.iso("")), (vec![], vec!["One".into(), "Two".into()], Some(0)));
    let said = check(&here, &there.iso(""), &[]).stdout;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains(": 2 ISOs are the same\n"), "{said}");
}

/// Two servers with a difference of each kind, and the last byte of one ISO, which differs.
fn differing() -> (Place, Place, usize) {
    let (here, there) = (Place::new(), Place::new());
    here.put("here.iso", &Disc::new("Here", 1));
    there.put("there.iso", &Disc::new("There", 2));
    let mut long = Disc::new("Longer", 3);
    here.put("longer.iso", &long);
    long.iso.extend([0; 2048]);
    there.put("longer.iso", &long);
    let mut last = Disc::new("Bytes", 4);
    here.put("bytes.iso", &last);
    let end = last.iso.len() - 1;
    last.iso[end] ^= 1;
    there.put("bytes.iso", &last);
    fs::write(there.iso("broken.iso"), [7; 100_000]).unwrap();
    (here, there, end)
}

/// All that is found there is what [`differing`] has put there.
fn check_differences(here: &Place, against: &Path) {
    let (differences, same, code) = compared(here, against);
    let broken = differences.iter().find(|(name, _)| name == "broken.iso").expect("a file that is no ISO");
    assert_eq!(broken.1, "not-an-iso");
    let rest: Vec<_> = differences.iter().filter(|one| *one != broken).cloned().collect();
    let wanted = [("Bytes", "bytes"), ("Here", "here-only"), ("Longer", "size"), ("There", "there-only")];
    assert_eq!(rest, wanted.map(|(name, code)| (name.to_owned(), code.to_owned())));
    assert_eq!((same, code), (vec![], Some(1)));
}

#[test]
fn each_kind_of_difference_is_told_apart() {
    let (here, there, end) = differing();
    check_differences(&here, &there.iso(""));
    let said = String::from_utf8(check(&here, &there.iso(""), &[]).stdout).unwrap();
    let len = |place: &Place| fs::metadata(place.iso("longer.iso")).unwrap().len();
    for sentence in [
        format!("  Bytes has other bytes there from byte {end} on\n"),
        "  Here is here only, as here.iso\n".into(),
        "  There is there only, as there.iso\n".into(),
        format!("  Longer has {} bytes here and {} there\n", len(&here), len(&there)),
    ] {
        assert!(said.contains(&sentence), "{sentence}{said}");
    }
}

#[test]
fn a_mounted_tree_is_compared_by_the_labels_that_it_gives() {
    let (here, there) = (Place::new(), Place::new());
    here.put("one.iso", &Disc::new("One", 1));
    let copy = there.put("one.iso", &Disc::new("One", 1));
    // A tree can't be asked who writes to an ISO, so that a new one in it might still be being copied.
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    fs::File::options().write(true).open(copy).unwrap().set_modified(yesterday).unwrap();
    let daemon = there.start(&["--label", "one.iso=Other"]);
    let images = there.tree("images");
    let names =
        |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect::<Vec<_>>();
    let found = compared(&here, &images);
    assert_eq!(found, (names(&[("One", "here-only"), ("Other", "there-only")]), vec![], Some(1)));
    let output = check(&here, &images, &["--label", "one.iso=Other"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    daemon.stop();
}

#[test]
fn a_tree_behind_a_web_server_is_compared_as_its_files_are() {
    let (here, there, _) = differing();
    let daemon = there.start(&[]);
    let server = Nginx::start(&there, "against-nginx");
    let address = format!("http://127.0.0.1:{}/", server.port);
    check_differences(&here, Path::new(&address));
    // And the other way round it is the same as itself, but for the file that can't be served, which both have.
    let (differences, same, code) = compared(&there, Path::new(&address));
    let labels = ["Bytes", "Longer", "There"].map(str::to_owned).to_vec();
    assert_eq!((differences, same, code), (vec![], labels, Some(1)));
    drop(server);
    daemon.stop();
}

/// Answers every request by the text for its path, as a web server that knows no ranges.
fn web_server(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut lines = Vec::new();
            while lines.last().is_none_or(|line: &String| !line.trim().is_empty()) {
                lines.push(String::new());
                stream.read_line(lines.last_mut().unwrap()).unwrap();
            }
            let text = answer(lines[0].split(' ').nth(1).unwrap());
            let len = text.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
            stream.get_mut().write_all((head + &text).as_bytes()).unwrap();
        }
    });
    format!("http://{address}/netboot")
}

#[test]
fn what_is_no_tree_behind_a_web_server_is_a_sentence() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other = web_server(|_| "{\"schema\":2,\"isos\":[],\"left_out\":[]}".into());
    let foreign =
        web_server(|_| r#"{"schema":1,"isos":[{"label":"../x","file":"x","size":1}],"left_out":[]}"#.into());
    for (address, words) in [
        (web_server(|_| "<html>".into()), "is not what netrootfs shows in a tree's root"),
        (other, "another version of netrootfs"),
        (foreign, "'../x'"),
        (format!("http://{refused}"), "refused"),
        ("https://127.0.0.1/".into(), "https is not spoken here"),
    ] {
        let output = check(&place, Path::new(&address), &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words) && said.contains(address.trim_end_matches('/')), "{words}: {said}");
        assert_eq!((output.stdout.len(), output.status.code()), (0, Some(1)), "{said}");
    }
}

#[test]
fn a_web_server_that_sends_no_parts_of_files_is_a_sentence() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let size = disc.iso.len();
    let address = web_server(move |path| match path {
        "/netboot/status.json" => format!(
            r#"{{"schema":1,"isos":[{{"label":"One","file":"one.iso","size":{size}}}],"left_out":[]}}"#
        ),
        _ => "all of it".into(),
    });
    let output = check(&place, Path::new(&address), &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    let sentence = format!(
        "  One can't be compared: {address}/images/One.iso: the web server doesn't send parts of files (ranges)\n"
    );
    assert!(said.contains(&sentence), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_directory_that_is_not_there_is_a_sentence() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let output = check(&place, Path::new("/no/such/directory"), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/no/such/directory: there is no such directory"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

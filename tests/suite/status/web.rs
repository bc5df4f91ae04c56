//! The tree behind a web server, set up as the manual says.

use std::io::{Read, Write};
use std::net::TcpStream;

use netrootfs::tree::render::status::Status;
use testkit::disc::Disc;
use testkit::ports::local;

use crate::support::nginx::Nginx;
use crate::support::place::Place;

/// The head and the body of an answer.
fn get(port: u16, path: &str, more: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(local(port)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n{more}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("the end of the head");
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

#[test]
fn nginx_serves_the_page_the_status_and_the_metrics() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&[]);
    let nginx = Nginx::start(&place, "status-nginx");
    let port = nginx.port;
    let (head, page) = get(port, "/", "");
    assert!(head.contains("200 OK") && head.contains("text/html"), "{head}");
    assert!(String::from_utf8(page).unwrap().contains("One: Start the Live System"));
    let (head, metrics) = get(port, "/metrics", "");
    assert!(
        head.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(metrics.ends_with(b"# EOF\n"));
    let mut texts = std::collections::HashSet::new();
    while texts.len() < 3 {
        // Each answer is whole, whatever time it is made in.
        let (head, text) = get(port, "/status.json", "");
        assert!(head.contains(&format!("Content-Length: {}", text.len())), "{head}");
        texts.insert(serde_json::from_slice::<Status>(&text).unwrap().time);
    }
    let (head, part) = get(port, "/images/One.iso", "Range: bytes=40000-40099\r\n");
    assert!(head.contains("206 Partial Content") && part == disc.iso[40_000..40_100], "{head}");
    drop(nginx);
    daemon.stop();
}

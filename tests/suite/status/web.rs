//! The tree behind a web server, set up as the manual says.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use netrootfs::cli::manual::Page;
use netrootfs::tree::render::status::Status;
use testkit::disc::Disc;
use testkit::ports::{free, local};
use testkit::process::Process;
use testkit::work::Work;

use crate::support::place::Place;

/// The manual's lines for nginx, for this port and mount.
fn recipe(port: u16, place: &Place) -> String {
    let page = Page::find("netrootfs-status").unwrap().source;
    let (_, block) = page.split_once("```\nserver {\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    assert!(block.contains("listen 80;") && block.contains("root /srv/netboot;"));
    let block = block.replace("listen 80;", &format!("listen 127.0.0.1:{port};"));
    "server {\n".to_owned() + &block.replace("/srv/netboot", &place.mnt().display().to_string())
}

/// nginx in front of a mount.
pub struct Nginx {
    server: Process,
    _work: Work,
    pub port: u16,
}

impl Nginx {
    pub fn start(place: &Place) -> Self {
        let (port, work) = (free(), Work::new("status-nginx").unwrap());
        let config = place.elsewhere("nginx.conf");
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {};\n", place.elsewhere(name).display()))
            .collect();
        let head = format!(
            "daemon off;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\ninclude /etc/nginx/mime.types;\n",
            place.elsewhere("nginx.pid").display()
        );
        fs::write(&config, format!("{head}{temporary}{}}}\n", recipe(port, place))).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-e").arg("stderr").arg("-c").arg(&config);
        let mut server = Process::spawn(&mut command, &work).unwrap();
        place.eventually("nginx", || {
            server.ensure_runs().unwrap_or_else(|error| {
                work.print_logs();
                panic!("{error}");
            });
            TcpStream::connect(local(port)).is_ok()
        });
        Self { server, _work: work, port }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers would outlive it otherwise.
        let _ = self.server.terminate(testkit::process::PATIENCE);
    }
}

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
    let nginx = Nginx::start(&place);
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

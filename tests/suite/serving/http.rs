//! Web servers, set up as the manual says: its own lines, with another port and another directory.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use testkit::disc::Disc;
use testkit::ports::{free, local};
use testkit::process::{Process, wait_for};
use testkit::work::Work;

use crate::support::place::Place;

#[test]
fn nginx_as_the_manual_has_it_serves_every_byte() {
    served_by("nginx", |recipe, work, port| {
        let conf = work.scratch("nginx.conf");
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", work.scratch(kind).display()));
        let text = format!(
            "daemon off; user www-data; error_log stderr; pid {};\nevents {{}}\nhttp {{\naccess_log off;\n{}{}\n}}\n",
            work.scratch("pid").display(),
            temp.concat(),
            recipe.replace("listen 80", &format!("listen 127.0.0.1:{port}"))
        );
        fs::write(&conf, text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-c").arg(conf);
        command
    });
}

#[test]
fn caddy_as_the_manual_has_it_serves_every_byte() {
    served_by("Caddy", |recipe, work, port| {
        let conf = work.scratch("Caddyfile");
        let recipe = recipe.replace(":80 ", &format!("http://127.0.0.1:{port} "));
        fs::write(&conf, format!("{{\n  admin off\n}}\n{recipe}")).unwrap();
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(conf);
        command.env("HOME", work.scratch("home")).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        command
    });
}

#[test]
fn apache_as_the_manual_has_it_serves_every_byte() {
    served_by("Apache", |recipe, work, port| {
        let conf = work.scratch("apache.conf");
        let modules: String = ["mpm_event", "authz_core", "alias", "autoindex", "dir"]
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .concat();
        let run = work.scratch("run");
        fs::create_dir(&run).unwrap();
        let text = format!(
            "ServerName localhost\nListen 127.0.0.1:{port}\nUser www-data\nGroup www-data\nErrorLog /dev/stderr\n\
             PidFile {0}/pid\nDefaultRuntimeDir {0}\nDocumentRoot {0}\n{modules}{recipe}",
            run.display()
        );
        fs::write(&conf, text).unwrap();
        let mut command = Command::new("apache2");
        // In one process: workers would outlast a server that is killed.
        command.arg("-f").arg(conf).arg("-X");
        command
    });
}

/// Starts a server with the lines that the manual has for it, on both data paths, and asks it for everything.
fn served_by(name: &str, command: impl Fn(&str, &Work, u16) -> Command) {
    for path in ["kernel", "cache"] {
        let (old, new) = (Disc::new("Old", 1), Disc::new("New", 2));
        let place = Place::with("old.iso", &old);
        let _daemon = place.start(&["--data-path", path, "--http-url", "http://192.0.2.1/netboot"]);
        let work = Work::new(&format!("http-{name}-{path}")).unwrap();
        let port = free();
        let recipe = recipe(name).replace("/srv/netboot", place.mnt().to_str().unwrap());
        let mut server = Process::spawn(&mut command(&recipe, &work, port), &work).unwrap();
        let listens = wait_for(name, testkit::process::PATIENCE, || {
            server.ensure_runs()?;
            Ok(TcpStream::connect(local(port)).is_ok())
        });
        if let Err(error) = listens {
            work.print_logs();
            panic!("{error}");
        }
        let client = Client(port);
        client.assert_same(&place, "tftp/vmlinuz_Old");
        client.gets_the_menu(&place, "vmlinuz_Old");
        client.assert_same(&place, "images/Old.iso");
        for (first, last) in [(0, 0), (70_001, 200_000), (old.iso.len() - 5, old.iso.len() - 1)] {
            let answer = client.get("images/Old.iso", Some((first, last)));
            assert_eq!(answer.status, 206, "{name}");
            assert!(answer.body == old.iso[first..=last], "{name}: bytes {first} to {last} differ");
        }
        assert_eq!(client.get("images/None.iso", None).status, 404);
        let listing = client.get("trees/Old/", None);
        assert!(listing.status == 200 && !listing.body.is_empty(), "{name}");
        // What comes later is there without a word to the server, and the menu is the new one.
        place.put("new.iso", &new);
        place.promised("the new ISO", || place.tree("images/New.iso").exists());
        client.assert_same(&place, "images/New.iso");
        client.gets_the_menu(&place, "vmlinuz_New");
    }
}

/// The lines below a heading of the manual's page.
fn recipe(heading: &str) -> String {
    let page = include_str!("../../../src/manual/netrootfs-servers.7.md");
    let section = page.split_once(&format!("\n### {heading}\n")).expect("the section").1;
    section.split("```\n").nth(1).expect("its lines").to_owned()
}

/// Asks a server on a port.
struct Client(u16);

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Client {
    fn assert_same(&self, place: &Place, path: &str) {
        let answer = self.get(path, None);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body == place.read(path), "{path}: other bytes than in the tree");
    }

    /// The menu is written anew when more is known of an ISO, which may be between the two looks.
    fn gets_the_menu(&self, place: &Place, with: &str) {
        place.eventually("a menu that is the same as in the tree", || {
            let menu = self.get("tftp/boot.ipxe", None).body;
            menu == place.read("tftp/boot.ipxe") && String::from_utf8_lossy(&menu).contains(with)
        });
    }

    /// A file of the tree, whole or from one byte to another.
    fn get(&self, path: &str, range: Option<(usize, usize)>) -> Answer {
        let mut stream = TcpStream::connect(local(self.0)).unwrap();
        let range = range.map_or(String::new(), |(first, last)| format!("Range: bytes={first}-{last}\r\n"));
        let host = format!("Host: 127.0.0.1:{}\r\n", self.0);
        write!(stream, "GET /netboot/{path} HTTP/1.1\r\n{host}{range}Connection: close\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer") + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).expect("a status").parse().unwrap();
        Answer { status, body: bytes.split_off(end) }
    }
}

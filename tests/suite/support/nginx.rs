//! The tree behind nginx, set up as the manual says.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use netrootfs::cli::manual::Page;
use testkit::ports::{free, local};
use testkit::process::{PATIENCE, Process};
use testkit::work::Work;

use crate::support::place::Place;

/// A running nginx.
pub struct Nginx {
    process: Process,
    /// On the loopback address.
    pub port: u16,
}

impl Nginx {
    /// Shows the tree of a place that is mounted.
    pub fn start(place: &Place, test: &str) -> Self {
        let (port, work) = (free(), Work::new(test).unwrap());
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
        let mut process = Process::spawn(&mut command, &work).unwrap();
        place.eventually("nginx", || {
            process.ensure_runs().unwrap_or_else(|error| {
                work.print_logs();
                panic!("{error}");
            });
            TcpStream::connect(local(port)).is_ok()
        });
        Self { process, port }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers would outlive it otherwise.
        let _ = self.process.terminate(PATIENCE);
    }
}

/// The manual's lines for nginx, for this port and mount.
fn recipe(port: u16, place: &Place) -> String {
    let page = Page::find("netrootfs-status").unwrap().source;
    let (_, block) = page.split_once("```\nserver {\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    assert!(block.contains("listen 80;") && block.contains("root /srv/netboot;"));
    let block = block.replace("listen 80;", &format!("listen 127.0.0.1:{port};"));
    "server {\n".to_owned() + &block.replace("/srv/netboot", &place.mnt().display().to_string())
}

//! The page in a real browser, which comes to it through a real web server.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use netrootfs::boot::step::Step;
use serde_json::Value;
use testkit::disc::Disc;
use testkit::ports::free;
use testkit::process::Process;
use testkit::work::Work;

use super::machines::{MAC, load, say};

use crate::serving::tftp::{Kind, Server};
use crate::support::nginx::Nginx;
use crate::support::place::Place;

/// What a browser has made of a page, after it has been open for twelve seconds of the page's own time.
struct Seen {
    /// The page as it is by then.
    dom: String,
    /// What it has said on the console: errors, too.
    console: Vec<String>,
    /// What it has asked for, and of whom.
    requests: BTreeSet<String>,
}

/// Looks at the page at `origin`. What the browser wants for itself stays on this host.
fn look(origin: &str, place: &Place) -> Seen {
    let log = place.elsewhere("net.json");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"])
        .args(["--virtual-time-budget=12000", "--enable-logging=stderr"])
        .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        .arg(format!("--user-data-dir={}", place.elsewhere("profile").display()))
        .arg(format!("--log-net-log={}", log.display()))
        .arg(format!("{origin}/"))
        .output()
        .expect("chromium");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let log: Value = serde_json::from_slice(&fs::read(log).unwrap()).unwrap();
    let of_the_page = |event: &Value| {
        let params = event.get("params")?;
        let url = params.get("url")?.as_str()?;
        (params.get("initiator")? == origin).then(|| url.to_owned())
    };
    Seen {
        dom: String::from_utf8(output.stdout).unwrap(),
        console: said.lines().filter(|line| line.contains(":CONSOLE:")).map(str::to_owned).collect(),
        requests: log["events"].as_array().unwrap().iter().filter_map(of_the_page).collect(),
    }
}

#[test]
fn a_browser_shows_isos_and_machines_and_asks_nobody_but_the_server() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    fs::write(place.iso("<img src=x onerror=console.error(1)>.iso"), vec![7; 100_000]).unwrap();
    let daemon = place.start(&[]);
    let server = Server::start(Kind::TftpdHpa, &place);
    load(&server, &disc);
    say(Step::Init, &place, &server);
    let nginx = Nginx::start(&place, "browser-nginx");
    let origin = format!("http://127.0.0.1:{}", nginx.port);
    let Seen { dom, console, requests } = look(&origin, &place);
    for shown in [
        "<td>One: Start the Live System<br>",
        "<small>one.iso</small>",
        "<td>&lt;img src=x onerror=console.error(1)&gt;.iso</td>",
        &format!("<small>{MAC}</small>"),
        "<td>vmlinuz_One<br>",
        "netroot-init has begun the ISO's own init, ",
    ] {
        assert!(dom.contains(shown), "{shown} in {dom}");
    }
    assert_eq!((dom.matches("<script").count(), dom.matches("<script>").count()), (1, 1), "{dom}");
    assert_eq!(console, [""; 0]);
    // It takes itself anew.
    let index = format!("{origin}/index.html");
    assert!(requests.contains(&index), "{requests:?}");
    let others: Vec<_> = requests.iter().filter(|url| !url.starts_with(&format!("{origin}/"))).collect();
    assert!(others.is_empty(), "{others:?}");
    drop((nginx, server));
    daemon.stop();
}

#[test]
fn of_a_page_that_asks_others_and_fails_the_same_look_tells() {
    let (place, work, port) = (Place::new(), Work::new("status-browser").unwrap(), free());
    let page =
        "<!DOCTYPE html><title>x</title><img src='http://192.0.2.7/x.png'><script>none.at.all</script>";
    let directory = place.elsewhere("page");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("index.html"), page).unwrap();
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"]);
    let _server = Process::spawn(command.arg(&directory), &work).unwrap();
    place.eventually("the server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let seen = look(&format!("http://127.0.0.1:{port}"), &place);
    assert!(seen.requests.contains("http://192.0.2.7/x.png"), "{:?}", seen.requests);
    assert!(seen.console.iter().any(|line| line.contains("none is not defined")), "{:?}", seen.console);
}

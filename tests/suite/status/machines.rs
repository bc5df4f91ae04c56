//! Who boots what, with the real servers between the machines and the tree.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use netrootfs::boot::step::Step;
use netrootfs::tree::render::status::Machine;
use testkit::disc::Disc;
use testkit::nbd::Client;
use testkit::ports::{free, local};
use testkit::tftp::{Answer, PORT, ask, fetch};

use super::status;
use crate::serving::nbd::NbdServer;
use crate::serving::tftp::{Kind, Server};
use crate::support::place::{Place, said};

const UUID: &str = "4c4c4544-0042-3510-8052-b4c04f4d3732";
pub const MAC: &str = "52:54:00:12:34:56";

/// Asks for its menu as pxelinux does, and loads what that says.
pub fn load(server: &Server, disc: &Disc) {
    for name in [UUID, "01-52-54-00-12-34-56", "7F000001", "7F00000"] {
        let answer = ask(server.address, &format!("pxelinux.cfg/{name}")).unwrap();
        assert!(matches!(answer, Answer::Refused(1, _)), "{name}: {answer:?}");
    }
    let address = SocketAddr::from((server.address, PORT));
    assert!(!fetch(address, "pxelinux.cfg/default").unwrap().is_empty());
    assert!(fetch(address, "vmlinuz_One").unwrap() == disc.kernel);
    assert!(fetch(address, "initrd_One.img").unwrap() == disc.initrd);
}

#[test]
fn with_a_process_for_each_client_it_is_known_who_boots_what() {
    let disc = Disc::new("One", 1);
    for path in ["cache", "kernel"] {
        let place = Place::with("one.iso", &disc);
        let port = free();
        let daemon = place.start(&["--nbd-port", &port.to_string(), "--data-path", path]);
        let tftp = Server::start(Kind::TftpdHpa, &place);
        let nbd = NbdServer::start(&place, port);
        load(&tftp, &disc);
        let mut client = Client::connect(local(port), "One").unwrap();
        assert!(client.read(0, 1 << 20).unwrap() == disc.root[..1 << 20]);

        let status_then = status(&place);
        let [machine] = status_then.machines.as_slice() else { panic!("{:#?}", status_then.machines) };
        assert_eq!(machine.addresses, ["127.0.0.1"]);
        assert_eq!((machine.mac.as_deref(), machine.uuid.as_deref()), (Some(MAC), Some(UUID)));
        assert_eq!(machine.loader.as_deref(), Some("pxelinux"));
        assert_eq!(machine.kernel.as_ref().unwrap().path, "tftp/vmlinuz_One");
        let initrds: Vec<_> = machine.initrds.iter().map(|initrd| initrd.path.as_str()).collect();
        assert_eq!(initrds, ["tftp/initrd_One.img"]);
        let root = machine.root.as_ref().unwrap();
        assert_eq!((root.path.as_str(), root.size), ("images/liveos_One.img", disc.root.len() as u64));
        match path {
            "cache" => assert!(root.read_bytes.unwrap() >= 1 << 20, "{root:?}"),
            _ => assert_eq!(root.read_bytes, None),
        }
        assert!(machine.connected);
        let servers: Vec<_> =
            status_then.servers.iter().map(|one| (one.name.as_str(), one.opens_hidden)).collect();
        assert!(servers.contains(&("in.tftpd", 0)) && servers.contains(&("nbd-server", 0)), "{servers:?}");

        for args in [&["status"][..], &["top"]] {
            let output =
                Command::new(env!("CARGO_BIN_EXE_netrootfs")).args(args).arg(place.mnt()).output().unwrap();
            let text = said(&output);
            assert!(output.status.success() && text.contains(MAC) && text.contains("vmlinuz_One"), "{text}");
            assert!(
                text.lines().all(|line| line.chars().count() <= 80 || line.starts_with("exit")),
                "{text}"
            );
        }
        let page = place.text("index.html");
        assert!(page.contains(MAC) && page.contains(">connected<"), "{page}");
        client.disconnect().unwrap();
        place.eventually("its end", || !status(&place).machines[0].connected);
        drop(nbd);
        daemon.stop();
    }
}

#[test]
fn a_takeover_and_a_restart_forget_no_machine() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let port = free();
    let options = ["--nbd-port", &port.to_string(), "--data-path", "cache"];
    let daemon = place.start(&options);
    let tftp = Server::start(Kind::TftpdHpa, &place);
    let nbd = NbdServer::start(&place, port);
    load(&tftp, &disc);
    let mut client = Client::connect(local(port), "One").unwrap();
    assert!(client.read(0, 1 << 20).unwrap() == disc.root[..1 << 20]);
    place.eventually("it to be written down", || {
        let kept = std::fs::read_to_string(place.top().join("state/machines.json")).unwrap_or_default();
        kept.contains(MAC) && kept.contains("images/liveos_One.img")
    });
    let before = status(&place);
    let old = daemon.server();
    daemon.kill_server();
    place.eventually("another process", || daemon.server().is_some_and(|now| Some(now) != old));
    assert!(client.read(2 << 20, 1 << 19).unwrap() == disc.root[2 << 20..(2 << 20) + (1 << 19)]);
    let after = status(&place);
    assert_eq!(after.takeovers, 1);
    let [machine] = after.machines.as_slice() else { panic!("{:#?}", after.machines) };
    assert!(machine.connected, "{machine:?}");
    assert_eq!((machine.mac.as_deref(), machine.uuid.as_deref()), (Some(MAC), Some(UUID)));
    assert_eq!(machine.root.as_ref().unwrap().path, "images/liveos_One.img");
    assert_eq!(after.boots, before.boots);
    let [boot] = after.boots.as_slice() else { panic!("{:?}", after.boots) };
    assert_eq!(
        (boot.kernel.as_str(), boot.root.as_deref()),
        ("tftp/vmlinuz_One", Some("images/liveos_One.img"))
    );
    client.disconnect().unwrap();
    drop((nbd, tftp));
    daemon.stop();

    let daemon = place.start(&options);
    let restarted = status(&place);
    let [machine] = restarted.machines.as_slice() else { panic!("{:#?}", restarted.machines) };
    assert_eq!((machine.connected, machine.mac.as_deref()), (false, Some(MAC)));
    assert_eq!(restarted.boots, before.boots);
    daemon.stop();
}

#[test]
fn of_a_server_that_hides_its_clients_only_what_they_ask_is_known() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&[]);
    let server = Server::start(Kind::Dnsmasq, &place);
    load(&server, &disc);
    let status = status(&place);
    let by_mac = status.machines.iter().find(|machine| machine.mac.as_deref() == Some(MAC));
    let by_mac = by_mac.unwrap_or_else(|| panic!("{:#?}", status.machines));
    assert!(by_mac.addresses.is_empty() && by_mac.kernel.is_none() && by_mac.uuid.is_none(), "{by_mac:?}");
    // pxelinux says its address itself.
    assert!(status.machines.iter().any(|machine| machine.addresses == ["127.0.0.1"]));
    assert!(status.machines.iter().any(|machine| machine.uuid.as_deref() == Some(UUID)));
    let dnsmasq = status.servers.iter().find(|server| server.name == "dnsmasq").unwrap();
    assert!(dnsmasq.opens == 0 && dnsmasq.opens_hidden >= 2, "{dnsmasq:?}");
    assert!(place.text("index.html").contains("dnsmasq serves many machines in one process"));
    drop(server);
    daemon.stop();
}

#[test]
fn a_server_with_dozens_of_connections_hides_its_clients_even_if_all_have_one_address() {
    const SERVE: &str = "import socket, sys
server = socket.create_server(('127.0.0.1', 0))
clients = [socket.create_connection(server.getsockname()) for _ in range(int(sys.argv[2]))]
accepted = [server.accept() for _ in clients]
open(sys.argv[1], 'rb').read(1)";
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    for (connections, known) in [("1", true), ("40", false)] {
        let mut server = Command::new("python3");
        server.args(["-c", SERVE]).arg(place.tree("tftp/vmlinuz_One")).arg(connections);
        assert!(server.status().expect("python3").success());
        let servers = status(&place).servers;
        let server = servers.iter().find(|server| server.name.starts_with("python3")).unwrap();
        assert_eq!((server.opens, server.opens_hidden), (1, u64::from(!known)), "{connections}: {server:?}");
    }
    daemon.stop();
}

/// Says it as netroot-init does, and waits until the mount knows.
pub fn say(step: Step, place: &Place, server: &Server) -> Vec<Machine> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&step.request(MAC.parse().unwrap()), (server.address, PORT)).unwrap();
    let mut machines = Vec::new();
    place.eventually(step.code(), || {
        machines = status(place).machines;
        machines.iter().any(|machine| machine.step.as_ref().is_some_and(|said| said.code == step.code()))
    });
    machines
}

#[test]
fn netroot_init_says_how_far_it_came_through_a_plain_server() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&[]);
    let server = Server::start(Kind::TftpdHpa, &place);
    load(&server, &disc);
    for step in [Step::Address, Step::Disk, Step::Init, Step::Lost] {
        let machines = say(step, &place, &server);
        let [machine] = machines.as_slice() else { panic!("{machines:#?}") };
        assert_eq!((machine.mac.as_deref(), &machine.addresses[..]), (Some(MAC), &["127.0.0.1".into()][..]));
        assert_eq!(machine.kernel.as_ref().unwrap().path, "tftp/vmlinuz_One", "of the same boot");
    }
    let words = "netroot-init has lost its disk, calls again, ";
    for args in [&["status"][..], &["top"]] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_netrootfs")).args(args).arg(place.mnt()).output().unwrap();
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    assert!(place.text("index.html").contains(words));
    // Another boot begins.
    load(&server, &disc);
    assert_eq!(status(&place).machines[0].step, None);
    drop(server);

    let server = Server::start(Kind::Dnsmasq, &place);
    say(Step::GaveUp, &place, &server);
    drop(server);
    daemon.stop();
}

#[test]
fn whoever_reads_the_tree_on_this_host_is_no_machine() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    for file in ["tftp/vmlinuz_One", "images/One"] {
        let output = Command::new("cat").arg(place.tree(file)).output().unwrap();
        assert!(output.status.success());
    }
    let status = status(&place);
    assert!(status.files.iter().any(|file| file.path == "tftp/vmlinuz_One"));
    assert_eq!((status.machines, status.servers), (Vec::new(), Vec::new()));
    daemon.stop();
}

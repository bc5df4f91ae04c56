//! Who boots what: the machines behind the programs that open files here, told by what a server's process is connected to
//! and by the names that loaders and netroot-init ask for.
//!
//! A server with a process for each client, such as tftpd-hpa or nbd-server, hides nobody. Of one that serves all in one
//! process it is only known what is asked for, and nothing is guessed. No event loop waits for this; where a process may
//! be gone once it is answered, its request is.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::boot::names::Part;
use crate::catalog::config::question::{Key, Question};
use crate::serve::usage::{Reading, seconds};
use crate::storage::workers::{Limits, Workers};
use crate::tree::render::status::{Boot, Fetched, Machine as Shown, Root, Server, Step};

pub mod kept;
mod machines;
mod peer;

use kept::{Kept, Writer};
use machines::{Machine, Machines};
pub use peer::{Peers, Who};

/// Looks into /proc: short, and never at what could hang.
const LOOKS: Limits =
    Limits { name: "clients", threads: 4, per_key: 1, waiting: 1024, patience: None, nice: false };

/// Boots that are remembered.
const MAX_BOOTS: usize = 256;

/// The loaders, as they are called.
const LOADERS: [&str; 3] = ["pxelinux", "GRUB", "iPXE"];

/// Programs that are told apart.
const MAX_SERVERS: usize = 64;

/// The machines, and who asks for them.
pub struct Clients {
    peers: Peers,
    looks: Workers,
    known: Mutex<Known>,
    writer: Mutex<Writer>,
}

#[derive(Default)]
struct Known {
    machines: Machines,
    /// The last one first.
    boots: VecDeque<Boot>,
    servers: Vec<Server>,
}

impl Default for Clients {
    fn default() -> Self {
        let (peers, looks) = (Peers::default(), Workers::new(LOOKS));
        Self { peers, looks, known: Mutex::default(), writer: Mutex::default() }
    }
}

impl Clients {
    /// Has somebody else look at processes from now on.
    pub fn ask(&self, looks: impl Fn(u32) -> Who + Send + Sync + 'static) {
        self.peers.ask(looks);
    }

    /// Finds out who is behind a process, on another thread, and goes on there with what depends on it. With too many waiting,
    /// it goes on here, and nobody is known.
    pub fn find(self: &Arc<Self>, pid: u32, then: impl FnOnce(&Self, Who) + Send + 'static) {
        let then = Arc::new(Mutex::new(Some(then)));
        let later = {
            let (clients, then) = (self.clone(), then.clone());
            move || {
                let who = clients.peers.of(pid);
                if let Some(then) = then.lock().take() {
                    then(&clients, who);
                }
            }
        };
        if !self.looks.offer(u64::from(pid), later) {
            let then = then.lock().take();
            if let Some(then) = then {
                then(self, Who::Nobody);
            }
        }
    }

    /// A loader has asked for the menu of a machine, or netroot-init has said how far it came.
    pub fn asked(&self, who: &Who, question: &Question) {
        let address = who.address();
        let mut known = self.known.lock();
        let machine = match (address, question.key) {
            (None, Key::Address(address)) => known.machines.entry(Some(address.into()), None),
            // What the server sees counts more than what a loader takes for its address.
            (Some(_), Key::Address(_)) => known.machines.entry(address, None),
            (_, key) => known.machines.entry(address, Some(key)),
        };
        machine.last_seen = SystemTime::now();
        machine.loader = question.loader.or(machine.loader);
        if let Some(step) = question.step {
            machine.comes_to(step);
        }
        drop(known);
        self.writer.lock().changed();
    }

    /// A file has been opened.
    pub fn opened(&self, who: &Who, reading: &Arc<Reading>) {
        let part = Part::of(&reading.path);
        let mut known = self.known.lock();
        if part != Part::Other {
            known.count(who);
        }
        let Some(address) = who.address().filter(|_| part != Part::Other) else { return };
        let machine = known.machines.entry(Some(address), None);
        machine.last_seen = reading.since;
        match part {
            Part::Kernel => {
                machine.boots(reading);
                let mac = machine.mac.map(|mac| mac.to_string());
                known.has_booted(address, mac, reading);
            }
            Part::Initrd => machine.unpacks(reading),
            Part::Root => {
                machine.attaches(reading);
                known.has_attached(address, reading);
            }
            Part::Menu(loader) => machine.loader = Some(loader),
            Part::Other => {}
        }
        drop(known);
        self.writer.lock().changed();
    }

    /// The machines and the boots, the last one first, and the programs.
    pub fn shown(&self) -> (Vec<Shown>, Vec<Boot>, Vec<Server>) {
        let known = self.known.lock();
        let mut machines: Vec<Shown> = known.machines.iter().map(Machine::shown).collect();
        machines.sort_by_key(|machine| (!machine.connected, std::cmp::Reverse(machine.last_seen)));
        (machines, known.boots.iter().cloned().collect(), known.servers.clone())
    }

    /// What the next process needs of it.
    pub fn kept(&self) -> Kept {
        let known = self.known.lock();
        let machines = known.machines.iter().map(|machine| (machine.shown(), machine.handles()));
        Kept::new(machines.collect(), known.boots.iter().cloned().collect())
    }

    /// Takes what was kept. `open` finds what is open by the number of its handle, where that is still the same.
    pub fn take(&self, kept: Kept, open: impl Fn(u64) -> Option<Arc<Reading>>) {
        let mut known = self.known.lock();
        for (shown, handles) in kept.machines {
            known.take(&shown, handles.into_iter().filter_map(&open).collect());
        }
        known.boots = kept.boots.into_iter().take(MAX_BOOTS).collect();
    }

    /// Whether a machine has an image open.
    pub fn any_connected(&self) -> bool {
        self.known.lock().machines.iter().any(Machine::is_connected)
    }
}

impl Known {
    fn has_booted(&mut self, address: IpAddr, mac: Option<String>, reading: &Reading) {
        self.boots.push_front(Boot {
            time: seconds(reading.since),
            address: address.to_string(),
            mac,
            kernel: reading.path.clone(),
            root: None,
        });
        self.boots.truncate(MAX_BOOTS);
    }

    /// Its last boot has come so far.
    fn has_attached(&mut self, address: IpAddr, reading: &Reading) {
        let address = address.to_string();
        if let Some(boot) = self.boots.iter_mut().find(|boot| boot.address == address) {
            boot.root.get_or_insert_with(|| reading.path.clone());
        }
    }

    /// Takes a machine as it was.
    fn take(&mut self, shown: &Shown, open: Vec<Arc<Reading>>) {
        let keys = [
            shown.mac.as_deref().and_then(|mac| mac.parse().ok().map(Key::Mac)),
            shown.uuid.as_deref().and_then(|uuid| uuid.parse().ok().map(Key::Uuid)),
        ];
        let addresses: Vec<IpAddr> =
            shown.addresses.iter().filter_map(|address| address.parse().ok()).collect();
        if addresses.is_empty() && keys.iter().all(Option::is_none) {
            return;
        }
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let fetched = |file: &Fetched| (file.path.clone(), time(file.time));
        let machine = self.machines.new_entry();
        for key in keys.into_iter().flatten() {
            machine.take(key);
        }
        machine.addresses = addresses;
        machine.loader = LOADERS.into_iter().find(|loader| shown.loader.as_deref() == Some(loader));
        (machine.first_seen, machine.last_seen) = (time(shown.first_seen), time(shown.last_seen));
        machine.kernel = shown.kernel.as_ref().map(fetched);
        machine.initrds = shown.initrds.iter().map(fetched).collect();
        machine.step = shown.step.as_ref().and_then(|step| Some((step.code.parse().ok()?, time(step.time))));
        if let Some(Root { path, time: since, size, read_bytes }) = &shown.root {
            let past = Reading::past(path.clone(), *size, time(*since), *read_bytes);
            let open = open.into_iter().filter(|reading| reading.path == *path).collect();
            machine.has_attached(past, open);
        }
    }

    fn count(&mut self, who: &Who) {
        let Some(name) = who.server() else { return };
        let place = self.servers.iter().position(|server| server.name == name);
        if place.is_none() && self.servers.len() < MAX_SERVERS {
            self.servers.push(Server { name: name.to_owned(), ..Server::default() });
        }
        let place = place.unwrap_or(self.servers.len().saturating_sub(1));
        if let Some(server) = self.servers.get_mut(place).filter(|server| server.name == name) {
            match who.address() {
                Some(_) => server.opens += 1,
                None => server.opens_hidden += 1,
            }
        }
    }
}

impl Machine {
    fn shown(&self) -> Shown {
        let fetched =
            |(path, time): &(String, SystemTime)| Fetched { path: path.clone(), time: seconds(*time) };
        let connected = self.is_connected();
        let last_seen = if connected { SystemTime::now() } else { self.last_seen };
        Shown {
            addresses: self.addresses.iter().map(IpAddr::to_string).collect(),
            mac: self.mac.map(|mac| mac.to_string()),
            uuid: self.uuid.map(|uuid| uuid.to_string()),
            loader: self.loader.map(str::to_owned),
            step: self.step.map(|(step, time)| Step { code: step.code().into(), time: seconds(time) }),
            first_seen: seconds(self.first_seen),
            last_seen: seconds(last_seen),
            kernel: self.kernel.as_ref().map(fetched),
            initrds: self.initrds.iter().map(fetched).collect(),
            root: self.root().map(|(reading, read_bytes)| Root {
                path: reading.path.clone(),
                time: seconds(self.attached),
                size: reading.size,
                read_bytes,
            }),
            connected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::usage::Usage;

    fn of(address: &str) -> Who {
        Who::Peer { server: "in.tftpd".into(), address: address.parse().unwrap() }
    }

    fn asks(clients: &Clients, who: &Who, name: &str) {
        clients.asked(who, &Question::parse(name).unwrap());
    }

    fn opens(clients: &Clients, who: &Who, path: &str) -> Arc<Reading> {
        let reading = Usage::default().opened(path.into(), 100);
        clients.opened(who, &reading);
        reading
    }

    const UUID: &str = "4c4c4544-0042-3510-8052-b4c04f4d3732";

    #[test]
    fn a_boot_is_told_from_its_look_ups_and_opens() {
        let clients = Clients::default();
        let who = of("10.0.0.100");
        asks(&clients, &who, UUID);
        asks(&clients, &who, "01-52-54-00-12-34-56");
        asks(&clients, &who, "0A000064");
        opens(&clients, &who, "tftp/pxelinux.cfg/default");
        opens(&clients, &who, "tftp/vmlinuz_F42");
        opens(&clients, &who, "tftp/initrd_F42.img");
        let root = opens(&clients, &who, "images/liveos_F42.img");
        root.has_read(40);
        let (machines, boots, servers) = clients.shown();
        let [machine] = machines.as_slice() else { panic!("{machines:?}") };
        assert_eq!(machine.addresses, ["10.0.0.100"]);
        assert_eq!(machine.mac.as_deref(), Some("52:54:00:12:34:56"));
        assert_eq!((machine.uuid.as_deref(), machine.loader.as_deref()), (Some(UUID), Some("pxelinux")));
        assert_eq!(machine.kernel.as_ref().unwrap().path, "tftp/vmlinuz_F42");
        assert_eq!(machine.initrds[0].path, "tftp/initrd_F42.img");
        assert_eq!(machine.root.as_ref().unwrap().read_bytes, Some(40));
        assert!(machine.connected);
        assert_eq!((servers[0].name.as_str(), servers[0].opens, servers[0].opens_hidden), ("in.tftpd", 4, 0));
        let [boot] = boots.as_slice() else { panic!("{boots:?}") };
        assert_eq!((boot.address.as_str(), boot.mac.as_deref()), ("10.0.0.100", Some("52:54:00:12:34:56")));
        assert_eq!(boot.root.as_deref(), Some("images/liveos_F42.img"));
        root.close();
        let again = opens(&clients, &who, "images/liveos_F42.img");
        again.has_read(2);
        assert_eq!(clients.shown().0[0].root.as_ref().unwrap().read_bytes, Some(42), "both together");
        again.close();
        assert!(!clients.shown().0[0].connected);
        opens(&clients, &who, "tftp/vmlinuz_F43");
        let machine = clients.shown().0.remove(0);
        assert_eq!((machine.kernel.unwrap().path.as_str(), machine.initrds.len()), ("tftp/vmlinuz_F43", 0));
        assert_eq!(machine.root, None, "that was another boot");
    }

    #[test]
    fn the_last_step_counts_and_of_two_that_come_together_the_later_one() {
        let clients = Clients::default();
        let who = of("10.0.0.100");
        let steps = |name: &str| {
            asks(&clients, &who, &format!("netroot-init-52-54-00-12-34-56-{name}"));
            clients.shown().0[0].step.as_ref().unwrap().code.clone()
        };
        assert_eq!(["failed", "disk", "address", "init"].map(steps), ["failed", "disk", "disk", "init"]);
        clients.known.lock().machines.iter_mut().for_each(|machine| {
            machine.step.as_mut().unwrap().1 -= Duration::from_secs(2);
        });
        assert_eq!(steps("address"), "address", "it has begun anew");
        let next = Clients::default();
        next.take(clients.kept(), |_| None);
        assert_eq!(next.shown(), clients.shown());
        assert_eq!(clients.shown().0.len(), 1);
    }

    #[test]
    fn of_a_server_that_hides_its_clients_only_the_question_is_known() {
        let clients = Clients::default();
        let who = Who::Hidden { server: "dnsmasq".into() };
        asks(&clients, &who, "01-52-54-00-12-34-56");
        asks(&clients, &who, "0A000064");
        opens(&clients, &who, "tftp/vmlinuz_F42");
        let (machines, boots, servers) = clients.shown();
        assert!(boots.is_empty());
        assert_eq!(machines.len(), 2, "nothing says that they are one: {machines:?}");
        assert!(machines.iter().all(|machine| machine.kernel.is_none()));
        assert_eq!((servers[0].opens, servers[0].opens_hidden), (0, 1));
    }

    #[test]
    fn the_next_process_knows_the_machines_and_who_reads_on() {
        let clients = Clients::default();
        let who = of("10.0.0.100");
        asks(&clients, &who, UUID);
        asks(&clients, &who, "01-52-54-00-12-34-56");
        opens(&clients, &who, "tftp/vmlinuz_F42");
        opens(&clients, &who, "tftp/initrd_F42.img");
        let root = opens(&clients, &who, "images/liveos_F42.img");
        root.has_read(40);
        root.enter(77);
        let before = clients.shown();
        let (next, stopped) = (Clients::default(), Clients::default());
        let open = Usage::default().opened("images/liveos_F42.img".into(), 100);
        open.has_read(2);
        next.take(clients.kept(), |handle| (handle == 77).then(|| open.clone()));
        let mut expected = before.0.clone();
        expected[0].root.as_mut().unwrap().read_bytes = Some(42);
        expected[0].last_seen = next.shown().0[0].last_seen;
        assert_eq!((next.shown().0, next.shown().1), (expected, before.1.clone()));
        // After a restart nobody has it open.
        stopped.take(clients.kept(), |_| None);
        let machine = stopped.shown().0.remove(0);
        assert_eq!((machine.connected, machine.root.unwrap().read_bytes), (false, Some(40)));
        asks(&stopped, &of("10.0.0.101"), UUID);
        assert_eq!(stopped.shown().0.len(), 1, "it is the same machine");
    }

    #[test]
    fn who_reads_without_a_network_is_no_machine() {
        let clients = Clients::default();
        opens(&clients, &Who::Nobody, "images/liveos_F42.img");
        opens(&clients, &of("10.0.0.1"), "images/nbd.conf");
        assert_eq!(clients.shown(), (Vec::new(), Vec::new(), Vec::new()));
    }
}

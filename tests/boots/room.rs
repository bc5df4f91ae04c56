//! A room of machines at three servers, each with a netrootfs of its own on its own copy of the ISO, in networks of their own:
//! one server is slow, one is killed, one is cut off; then all is well again. Everybody reads on, every byte is right, and
//! the longest stall is said.
//!
//! 24 machines are readers in user space (`netroot-init read`), four are guests whose kernel has the disk (User Mode Linux); the
//! keeper is the same in both. Cables are slow enough that the room reads all the while and the host has time for it.

mod machines;
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::netns;
use testkit::process::wait_for;
use testkit::work::Work;

use crate::support::isos::isos;
use crate::support::qemu::one_at_a_time;

use machines::{Client, Guest, Machine};
use server::{ADDRESSES, Server};

const ISO: &str = "debian.iso";
/// Its name in a netrootfs.
const EXPORT: &str = "Live-Debian-12.iso";
const CLIENTS: u8 = 24;
const GUESTS: u8 = 4;
/// Mbit/s of a cable, and of one in trouble.
const FAST: u32 = 80;
const SLOW: u32 = 40;
/// What a machine must have read before it counts as reading on: more than is under way.
const READ_ON: u64 = 256 << 10;
/// For what takes seconds, and two minutes until the last machine is back at its own server.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn a_room_outlasts_a_slow_server_a_dead_one_and_one_that_is_cut_off() -> Result<()> {
    let _turn = one_at_a_time();
    let works: Vec<_> =
        (1..=GUESTS).map(|number| Work::new(&format!("room-guest-{number}"))).collect::<Result<_>>()?;
    let work = Work::new("room")?;
    try_room(&work, &works).inspect_err(|_| works.iter().chain([&work]).for_each(Work::print_logs))
}

fn try_room(work: &Work, works: &[Work]) -> Result<()> {
    netns::enter()?;
    let iso = isos()?.join(ISO);
    let disc: &'static [u8] = fs::read(&iso)?.leak();
    let mut servers =
        ADDRESSES.into_iter().map(|address| Server::start(address, &iso)).collect::<Result<Vec<_>>>()?;
    servers.iter().try_for_each(|server| server.limit(FAST))?;
    let mut room: Room<'_> = Room { machines: Vec::new(), longest: Duration::ZERO };
    for number in 1..=CLIENTS {
        room.machines.push(Box::new(Client::start(number, disc, work)?));
    }
    for (number, work) in (1..=GUESTS).zip(works) {
        room.machines.push(Box::new(Guest::start(number, disc, work)?));
    }
    room.wait_until("all machines to have a server", |_, at| at.is_some())?;
    let homes = room.places()?;
    let at = |address| homes.iter().filter(|home| **home == address).count();
    println!("{} machines, at {:?} servers", homes.len(), ADDRESSES.map(at));
    ensure!(ADDRESSES.iter().all(|address| at(*address) > 0), "a server without machines");
    room.reads_on("all is well")?;

    let [killed, cut_off, slow] = [0, 1, 2];
    servers[slow].limit(SLOW)?;
    room.reads_on("one is slow")?;
    servers[killed].kill();
    room.wait_until("the dead server's machines to be elsewhere", |_, at| at != Some(ADDRESSES[killed]))?;
    room.reads_on("one is killed")?;
    servers[cut_off].plug(false)?;
    room.wait_until("all to be at the last one", |_, at| at == Some(ADDRESSES[slow]))?;
    room.reads_on("one is cut off, and only the slow one is left")?;

    servers[killed].serve()?;
    servers[cut_off].plug(true)?;
    servers[slow].limit(FAST)?;
    let began = Instant::now();
    let mut back = BTreeMap::new();
    room.wait_until("all to be back at their own", |number, at| {
        let home = at == Some(homes[number]);
        if home && homes[number] != ADDRESSES[slow] {
            back.entry(number).or_insert_with(|| began.elapsed().as_secs());
        }
        home
    })?;
    room.reads_on("all are back")?;
    let mut seconds: Vec<_> = back.into_values().collect();
    seconds.sort_unstable();
    println!("they came back after {seconds:?} s");
    println!("the longest stall of the room: {:.1} s", room.longest.as_secs_f64());
    room.machines.into_iter().try_for_each(|machine| machine.end())
}

struct Room<'a> {
    machines: Vec<Box<dyn Machine + 'a>>,
    longest: Duration,
}

impl Room<'_> {
    /// Waits until all have read on, and says how long one has waited at most since the last time.
    fn reads_on(&mut self, scene: &str) -> Result<()> {
        let before = self.machines.iter_mut().map(|machine| machine.bytes()).collect::<Result<Vec<_>>>()?;
        wait_for(&format!("all to read on while {scene}"), PATIENCE, || {
            let mut all = true;
            for (machine, before) in self.machines.iter_mut().zip(&before) {
                all &= machine.bytes()? >= before + READ_ON;
            }
            Ok(all)
        })?;
        let longest =
            self.machines.iter_mut().map(|machine| machine.longest_wait()).max().unwrap_or_default();
        println!("{scene}: nobody has waited longer than {:.1} s", longest.as_secs_f64());
        self.longest = self.longest.max(longest);
        Ok(())
    }

    /// Waits until it is so for each machine, by its number, and the server that it is at.
    fn wait_until(&mut self, what: &str, mut so: impl FnMut(usize, Option<Ipv4Addr>) -> bool) -> Result<()> {
        wait_for(what, PATIENCE, || {
            let mut all = true;
            for (number, machine) in self.machines.iter_mut().enumerate() {
                machine.bytes()?;
                all &= so(number, place(&machine.said()?));
            }
            Ok(all)
        })
    }

    fn places(&self) -> Result<Vec<Ipv4Addr>> {
        let places = self.machines.iter().map(|machine| place(&machine.said()?).context("no server's name"));
        places.collect()
    }
}

/// The server that a machine is at, by the last of its words about that.
fn place(said: &str) -> Option<Ipv4Addr> {
    let arrived = |line: &&str| {
        line.ends_with(" bytes")
            || ["takes its place", "is back after", "back at the"].iter().any(|words| line.contains(words))
    };
    let line = said.lines().map(str::trim_end).rfind(arrived)?;
    let server = line.split([' ', '/']).find_map(|word| word.parse::<std::net::SocketAddrV4>().ok())?;
    Some(*server.ip())
}

#[test]
fn the_last_server_that_is_named_counts() {
    let said = "netroot: 10.0.2.11:10809/a.iso has 77 bytes\nnetroot: the connection to the NBD server 10.0.2.11:10809 is gone\n";
    assert_eq!(place(said), Some(Ipv4Addr::new(10, 0, 2, 11)));
    let said =
        format!("{said}[   9.1] netroot: the NBD server 10.0.2.12:10809 takes its place after 0 s\r\n");
    assert_eq!(place(&said), Some(Ipv4Addr::new(10, 0, 2, 12)));
    let said = format!("{said}netroot: back at the NBD server 10.0.2.11:10809\n");
    assert_eq!(place(&said), Some(Ipv4Addr::new(10, 0, 2, 11)));
    assert_eq!(place("piece 7"), None);
}

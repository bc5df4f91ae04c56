//! The machines that are remembered: each is known by its card, its UUID or an address, as far as these have been seen
//! together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::boot::step::Step;
use crate::catalog::config::Uuid;
use crate::catalog::config::question::Key;
use crate::image::mac::Mac;
use crate::serve::usage::Reading;

/// Most machines: those that were seen last.
const MAX: usize = 4096;

/// Most addresses of one.
const MAX_ADDRESSES: usize = 4;

/// Most initrds of a boot.
const MAX_INITRDS: usize = 16;

/// Most handles of a boot's image that are counted one by one.
const MAX_ROOTS: usize = 16;

/// Steps that come within this time may have changed places on their way through a server's processes.
const TOGETHER: Duration = Duration::from_secs(1);

/// A loader asks by UUID and by card within this time.
const ONE_SEARCH: Duration = Duration::from_secs(60);

/// All of them, by a number of their own.
#[derive(Default)]
pub struct Machines {
    all: BTreeMap<u64, Machine>,
    next: u64,
}

/// One of them.
pub struct Machine {
    /// The last one first.
    pub addresses: Vec<IpAddr>,
    pub mac: Option<Mac>,
    pub uuid: Option<Uuid>,
    pub loader: Option<&'static str>,
    /// What netroot-init has done last, and when.
    pub step: Option<(Step, SystemTime)>,
    pub first_seen: SystemTime,
    pub last_seen: SystemTime,
    /// Path, and when it was opened.
    pub kernel: Option<(String, SystemTime)>,
    pub initrds: Vec<(String, SystemTime)>,
    roots: Vec<Arc<Reading>>,
    /// When it attached its image last.
    pub attached: SystemTime,
    /// Bytes read by handles that are no longer among them.
    read_before: u64,
    uuid_asked: SystemTime,
}

impl Machines {
    pub fn iter(&self) -> impl Iterator<Item = &Machine> {
        self.all.values()
    }

    #[cfg(test)]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Machine> {
        self.all.values_mut()
    }

    /// The machine of an address, of a key, or of both; a new one if there is none.
    pub fn entry(&mut self, address: Option<IpAddr>, key: Option<Key>) -> &mut Machine {
        let by_address = address.and_then(|address| self.find(|one| one.addresses.contains(&address)));
        let by_key = key.and_then(|key| self.find(|one| one.has(key)));
        let number = match (by_key, by_address) {
            (Some(one), Some(other)) if one != other => {
                self.join(one, other);
                Some(one)
            }
            (Some(one), _) => Some(one),
            (None, Some(one)) if !key.is_some_and(|key| self.is_another(one, key)) => Some(one),
            (None, _) => None,
        };
        if let Some(address) = address {
            // Whoever had it has it no longer.
            for other in self.all.values_mut() {
                other.addresses.retain(|one| *one != address);
            }
        }
        let machine = match number {
            Some(number) => self.all.entry(number).or_insert_with(Machine::new),
            None => self.new_entry(),
        };
        if let Some(address) = address {
            machine.addresses.insert(0, address);
            machine.addresses.truncate(MAX_ADDRESSES);
        }
        if let Some(key) = key {
            machine.take(key);
        }
        machine
    }

    /// One that nothing is known of.
    pub fn new_entry(&mut self) -> &mut Machine {
        if self.all.len() >= MAX {
            let unused = self.all.iter().filter(|(_, machine)| !machine.is_connected());
            let oldest = unused.min_by_key(|(_, machine)| machine.last_seen).map(|(number, _)| *number);
            let oldest = oldest.or_else(|| self.all.keys().next().copied());
            oldest.map(|number| self.all.remove(&number));
        }
        self.next += 1;
        self.all.entry(self.next).or_insert_with(Machine::new)
    }

    fn find(&self, is: impl Fn(&Machine) -> bool) -> Option<u64> {
        self.all.iter().find(|(_, machine)| is(machine)).map(|(number, _)| *number)
    }

    /// Whether a key says that an address has gone to another machine.
    fn is_another(&self, number: u64, key: Key) -> bool {
        let Some(machine) = self.all.get(&number) else { return false };
        match key {
            Key::Uuid(_) => machine.uuid.is_some(),
            // A machine with two cards has asked by its UUID just before.
            Key::Mac(_) => {
                machine.mac.is_some() && machine.uuid_asked.elapsed().is_ok_and(|since| since > ONE_SEARCH)
            }
            Key::Address(_) => false,
        }
    }

    /// A key of one machine comes from an address of another: they are one, unless both have such keys.
    fn join(&mut self, one: u64, other: u64) {
        let (Some(first), Some(second)) = (self.all.get(&one), self.all.get(&other)) else { return };
        let differ = first.mac.is_some() && second.mac.is_some() && first.mac != second.mac
            || first.uuid.is_some() && second.uuid.is_some() && !same(first.uuid, second.uuid);
        if differ {
            return;
        }
        if let Some(second) = self.all.remove(&other)
            && let Some(first) = self.all.get_mut(&one)
        {
            first.absorb(second);
        }
    }
}

impl Machine {
    fn new() -> Self {
        let now = SystemTime::now();
        Self {
            addresses: Vec::new(),
            mac: None,
            uuid: None,
            loader: None,
            step: None,
            first_seen: now,
            last_seen: now,
            kernel: None,
            initrds: Vec::new(),
            roots: Vec::new(),
            attached: now,
            read_before: 0,
            uuid_asked: SystemTime::UNIX_EPOCH,
        }
    }

    /// It fetches a kernel: another boot begins.
    pub fn boots(&mut self, reading: &Reading) {
        self.kernel = Some((reading.path.clone(), reading.since));
        self.initrds.clear();
        self.step = None;
        if !self.is_connected() {
            self.roots.clear();
            self.read_before = 0;
        }
    }

    /// It fetches an initrd.
    pub fn unpacks(&mut self, reading: &Reading) {
        if self.initrds.len() < MAX_INITRDS {
            self.initrds.push((reading.path.clone(), reading.since));
        }
    }

    /// Netroot-init says that it has done this.
    pub fn comes_to(&mut self, step: Step) {
        let now = SystemTime::now();
        let overtaken = self.step.is_some_and(|(known, since)| {
            known > step && now.duration_since(since).is_ok_and(|since| since < TOGETHER)
        });
        if !overtaken {
            self.step = Some((step, now));
        }
    }

    /// It attaches an image.
    pub fn attaches(&mut self, reading: &Arc<Reading>) {
        if self.roots.last().is_some_and(|root| root.path != reading.path) {
            self.roots.clear();
            self.read_before = 0;
        }
        self.attached = reading.since;
        self.roots.push(reading.clone());
        while self.roots.len() > MAX_ROOTS {
            self.read_before += self.roots.remove(0).bytes().unwrap_or(0);
        }
    }

    /// Has attached an image before this process began. `open` are its handles that are still open.
    pub fn has_attached(&mut self, past: Reading, open: Vec<Arc<Reading>>) {
        self.attached = past.since;
        self.roots = std::iter::once(Arc::new(past)).chain(open).collect();
    }

    /// Handles of its image.
    pub fn handles(&self) -> Vec<u64> {
        self.roots.iter().filter(|root| root.is_open()).map(|root| root.handle()).collect()
    }

    /// Whether it has an image open.
    pub fn is_connected(&self) -> bool {
        self.roots.iter().any(|root| root.is_open())
    }

    /// The image as it was attached last, and how many bytes of it have been read by then; `None` where the kernel reads.
    pub fn root(&self) -> Option<(&Reading, Option<u64>)> {
        let last = self.roots.last()?;
        let read: Option<u64> = self.roots.iter().map(|root| root.bytes()).sum();
        Some((last, read.map(|read| read + self.read_before)))
    }

    fn has(&self, key: Key) -> bool {
        match key {
            Key::Mac(mac) => self.mac == Some(mac),
            Key::Uuid(uuid) => same(self.uuid, Some(uuid)),
            Key::Address(address) => self.addresses.contains(&address.into()),
        }
    }

    /// Is told by it from now on.
    pub fn take(&mut self, key: Key) {
        match key {
            Key::Mac(mac) => self.mac = Some(mac),
            Key::Uuid(uuid) => {
                self.uuid = self.uuid.or(Some(uuid));
                self.uuid_asked = SystemTime::now();
            }
            Key::Address(_) => {}
        }
    }

    /// Takes over what was seen of another, which is the same.
    fn absorb(&mut self, other: Self) {
        self.addresses.extend(other.addresses);
        self.mac = self.mac.or(other.mac);
        self.uuid = self.uuid.or(other.uuid);
        self.loader = other.loader.or(self.loader);
        self.step = match (self.step, other.step) {
            (Some(one), Some(other)) if one.1 >= other.1 => Some(one),
            (one, other) => other.or(one),
        };
        self.first_seen = self.first_seen.min(other.first_seen);
        self.uuid_asked = self.uuid_asked.max(other.uuid_asked);
        if other.last_seen > self.last_seen {
            self.last_seen = other.last_seen;
            if other.kernel.is_some() {
                (self.kernel, self.initrds) = (other.kernel, other.initrds);
            }
            if !other.roots.is_empty() {
                (self.roots, self.read_before) = (other.roots, other.read_before);
                self.attached = other.attached;
            }
        }
    }
}

/// Whether two UUIDs are one: each can be written in two ways.
fn same(one: Option<Uuid>, other: Option<Uuid>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one == other || one.names().contains(&other.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    fn nth(machines: &Machines, number: usize) -> &Machine {
        machines.iter().nth(number).unwrap()
    }

    fn mac(last: u8) -> Option<Key> {
        Some(Key::Mac(Mac([0x52, 0x54, 0, 0, 0, last])))
    }

    fn uuid(last: u8) -> Option<Key> {
        Some(Key::Uuid(format!("4c4c4544-0042-3510-8052-b4c04f4d37{last:02x}").parse().unwrap()))
    }

    #[test]
    fn a_card_with_another_address_is_the_same_machine() {
        let mut machines = Machines::default();
        machines.entry(address(1), mac(1));
        machines.entry(address(2), None).loader = Some("GRUB");
        machines.entry(address(2), mac(1));
        assert_eq!(machines.all.len(), 1);
        assert_eq!(nth(&machines, 0).addresses, [address(2).unwrap(), address(1).unwrap()]);
        assert_eq!(nth(&machines, 0).loader, Some("GRUB"));
    }

    #[test]
    fn an_address_that_another_card_has_is_another_machines() {
        let mut machines = Machines::default();
        machines.entry(address(1), mac(1));
        machines.entry(address(1), mac(2));
        assert_eq!(machines.all.len(), 2);
        assert!(nth(&machines, 0).addresses.is_empty());
        // And one that both have had is the last one's.
        machines.entry(address(1), mac(1));
        assert!(nth(&machines, 1).addresses.is_empty());
        machines.entry(address(1), uuid(1));
        machines.entry(address(1), uuid(2));
        assert_eq!(machines.all.len(), 3);
    }

    #[test]
    fn a_machine_with_two_cards_is_one() {
        let mut machines = Machines::default();
        machines.entry(address(1), uuid(1));
        machines.entry(address(1), mac(1));
        machines.entry(address(2), uuid(1));
        machines.entry(address(2), mac(2));
        assert_eq!(machines.all.len(), 1);
        assert_eq!(nth(&machines, 0).mac, Some(Mac([0x52, 0x54, 0, 0, 0, 2])));
    }

    #[test]
    fn a_uuid_is_one_in_both_orders() {
        let mut machines = Machines::default();
        let one: Uuid = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
        let turned: Uuid = "33221100-5544-7766-8899-aabbccddeeff".parse().unwrap();
        machines.entry(None, Some(Key::Uuid(one)));
        machines.entry(None, Some(Key::Uuid(turned)));
        assert_eq!(machines.all.len(), 1);
    }

    #[test]
    fn the_machines_that_were_seen_last_are_remembered() {
        let mut machines = Machines::default();
        for number in 0..=MAX as u32 {
            let machine = machines.entry(Some(IpAddr::from(number.to_be_bytes())), None);
            machine.last_seen = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(number) + 9);
        }
        assert_eq!(machines.all.len(), MAX);
        assert!(machines.find(|one| one.addresses == [IpAddr::from([0, 0, 0, 0])]).is_none());
        assert!(machines.find(|one| one.addresses == [IpAddr::from([0, 0, 0, 1])]).is_some());
    }
}

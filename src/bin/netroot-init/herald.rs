//! Tells the servers of the disk how far this machine has come, by a name that it asks their TFTP servers for.
//!
//! One packet each. Nobody waits for an answer, and whether there is such a server is of no account.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};

use netrootfs::boot::step::{PORT, Step};

use crate::address::Held;

/// Tells them.
pub fn tell(held: &Held, step: Step) {
    let servers: BTreeSet<Ipv4Addr> = held.disk_servers.iter().copied().collect();
    send(held, step, servers.into_iter().map(|server| (server, PORT)));
}

fn send(held: &Held, step: Step, servers: impl Iterator<Item = (Ipv4Addr, u16)>) {
    let request = step.request(held.mac);
    let Ok(socket) = UdpSocket::bind((held.address.addr(), 0)) else { return };
    if socket.set_nonblocking(true).is_ok() {
        servers.for_each(|server| drop(socket.send_to(&request, server)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ipnet::Ipv4Net;
    use netrootfs::image::mac::Mac;

    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    fn held(address: Ipv4Addr) -> Held {
        let address = Ipv4Net::new_assert(address, 8);
        Held { index: 1, mac: MAC, address, gateway: None, terms: None, disk_servers: Vec::new() }
    }

    #[test]
    fn each_server_gets_a_request_from_the_address_that_is_held() {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let servers = [bind(), bind()];
        let ports = servers.each_ref().map(|server| server.local_addr().unwrap().port());
        let own = Ipv4Addr::new(127, 0, 0, 9);
        send(&held(own), Step::Disk, ports.into_iter().map(|port| (Ipv4Addr::LOCALHOST, port)));
        for server in servers {
            server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut packet = [0; 100];
            let (len, from) = server.recv_from(&mut packet).unwrap();
            assert_eq!((&packet[..len], from.ip()), (&*Step::Disk.request(MAC), own.into()));
        }
    }

    #[test]
    fn without_a_server_or_an_address_nothing_happens() {
        // One that nobody has, RFC 5737.
        for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 1)] {
            send(&held(address), Step::Lost, [(Ipv4Addr::LOCALHOST, 9)].into_iter());
        }
    }
}

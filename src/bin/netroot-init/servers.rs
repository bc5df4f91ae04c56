//! The order in which a machine calls its servers: each machine has its own (rendezvous hashing), so that machines spread over
//! the servers, and one that goes moves only its own machines. Pure.

use std::hash::{Hash, Hasher};
use std::net::SocketAddrV4;

use netrootfs::image::mac::Mac;
use siphasher::sip::SipHasher13;

/// The servers, the one that this machine belongs to first.
pub fn ranked(card: Mac, mut servers: Vec<SocketAddrV4>) -> Vec<SocketAddrV4> {
    servers.sort_by_cached_key(|server| {
        let mut hasher = SipHasher13::new();
        (card.0, server.ip().octets(), server.port()).hash(&mut hasher);
        hasher.finish()
    });
    servers.dedup();
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(count: u8) -> Vec<SocketAddrV4> {
        (1..=count).map(|number| SocketAddrV4::new([10, 0, 0, number].into(), 10809)).collect()
    }

    fn machines() -> impl Iterator<Item = Mac> {
        (0..1000_u32).map(|number| {
            let [_, _, high, low] = number.to_be_bytes();
            Mac([0x52, 0x54, 0, 0x12, high, low])
        })
    }

    #[test]
    fn machines_spread_over_the_servers() {
        let mut counts = [0; 3];
        for machine in machines() {
            let first = ranked(machine, servers(3))[0];
            counts[usize::from(first.ip().octets()[3] - 1)] += 1;
        }
        assert!(counts.iter().all(|count| (250..=420).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_server_that_goes_moves_only_its_own_machines() {
        for machine in machines() {
            let before = ranked(machine, servers(3));
            let after = ranked(machine, servers(2));
            let without: Vec<_> =
                before.iter().filter(|server| server.ip().octets()[3] != 3).copied().collect();
            assert_eq!(after, without);
        }
    }

    #[test]
    fn the_order_in_which_they_are_named_is_of_no_account() {
        let machine = Mac([2, 0, 0, 0, 0, 7]);
        let turned: Vec<_> = servers(5).into_iter().rev().chain(servers(2)).collect();
        assert_eq!(ranked(machine, turned), ranked(machine, servers(5)));
    }
}

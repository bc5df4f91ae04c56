//! The keeper's work for the network: puts the address back, renews the lease.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::address::{Held, Terms};
use crate::console::{complain, say};
use crate::lease::{self, Renewal};
use crate::link;

/// Programs change a card in several steps; one look serves them all.
const QUIET: Duration = Duration::from_millis(100);
/// Between requests for a lease, at least; RFC 2131, 4.4.5 has 60 s for leases of hours.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// Puts link, address and routes back, whoever took them.
pub fn keep_address(held: &Held) {
    let events = match link::events() {
        Ok(events) => events,
        Err(error) => return complain(&format!("the network's events can't be had: {error}")),
    };
    let mut trouble = None;
    loop {
        match link::hold(held) {
            Ok(()) => trouble = None,
            // While a card is away there is nothing to be done; its coming is the next event.
            Err(error) if trouble == Some(error.kind()) => {}
            Err(error) => {
                complain(&format!("the address {} can't be put back: {error}", held.address));
                trouble = Some(error.kind());
            }
        }
        wait(&events, PollFlags::IN, None);
        let mut busy = true;
        while busy {
            events.drain();
            busy = wait(&events, PollFlags::IN, Some(QUIET));
        }
    }
}

/// Waits for an event of the descriptor; whether there was one.
fn wait(descriptor: &impl AsFd, event: PollFlags, patience: Option<Duration>) -> bool {
    let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
    poll(&mut [PollFd::new(descriptor, event)], timeout.as_ref()).is_ok_and(|ready| ready > 0)
}

/// Asks for more time when half of it is over. What a server refuses is kept all the same: the disk hangs on it.
pub fn keep_lease(held: &Held, mut terms: Terms) {
    let mut began = Instant::now();
    let mut next = seconds(terms.renew);
    let mut complained = false;
    loop {
        thread::sleep((began + next).saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        let rebind = began.elapsed() >= seconds(terms.rebind);
        let trouble = match lease::renew(held, &terms, rebind) {
            Ok(Some(Renewal::Until(lease))) if lease.address == held.address => {
                let Some(new) = lease.terms else { return };
                if complained {
                    say(&format!("the DHCP server {} has renewed the address {}", new.server, held.address));
                }
                (terms, began, next, complained) = (new, asked, seconds(new.renew), false);
                continue;
            }
            Ok(Some(Renewal::Until(lease))) => {
                Some(format!("the DHCP server wants {} in its place", lease.address))
            }
            Ok(Some(Renewal::Refused(sentence))) => Some(sentence),
            Ok(None) | Err(_) if began.elapsed() >= seconds(terms.lease) => {
                Some("its lease has run out and no DHCP server answers".to_owned())
            }
            Ok(None) | Err(_) => None,
        };
        if let Some(sentence) = trouble.filter(|_| !complained) {
            let address = held.address;
            complain(&format!("{address}: {sentence}; the address stays, because the disk hangs on it"));
            complained = true;
        }
        next = began.elapsed() + pause(began.elapsed(), &terms);
    }
}

/// Until the next request: half of what is left until T2, or the end.
fn pause(elapsed: Duration, terms: &Terms) -> Duration {
    let (rebind, lease) = (seconds(terms.rebind), seconds(terms.lease));
    let end = if elapsed < rebind { rebind } else { lease };
    let left = end.saturating_sub(elapsed);
    if left.is_zero() { seconds(60) } else { (left / 2).max(RENEWAL_PAUSE) }
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms =
        Terms { server: std::net::Ipv4Addr::new(10, 0, 2, 2), lease: 3600, renew: 1800, rebind: 3150 };

    #[test]
    fn requests_come_closer_together_towards_the_end() {
        assert_eq!(pause(seconds(1800), &TERMS), seconds(675));
        assert_eq!(pause(seconds(3145), &TERMS), RENEWAL_PAUSE);
        assert_eq!(pause(seconds(3150), &TERMS), seconds(225));
        assert_eq!(pause(seconds(5000), &TERMS), seconds(60));
    }
}

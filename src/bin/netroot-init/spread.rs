//! When this machine calls again, and for how long it listens: by its card's address, so that a room of machines that were
//! switched on together, or have lost a server together, doesn't call in one moment. Pure.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use netrootfs::image::mac::Mac;
use siphasher::sip::SipHasher13;

/// Until the next machine may call, nobody has waited for long.
const FIRST_CALL: Duration = Duration::from_millis(500);
/// Between calls to servers that are all away, and up to twice as long again.
const REDIAL: Duration = Duration::from_secs(1);
/// How long a server's greeting is waited for at the first call, and at those after it; up to twice as long. A call that was
/// lost in a full queue is never answered, and a slow server needs time.
const GREETING: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(10)];

/// A machine's own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread(u64);

impl Spread {
    /// The number of the machine with that card.
    pub fn of(card: Mac) -> Self {
        let mut hasher = SipHasher13::new();
        card.0.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// How long a server's greeting is waited for.
    pub fn greeting(self, attempt: u32) -> Duration {
        let [first, later] = GREETING;
        let base = if attempt == 0 { first } else { later };
        base + self.within(base, attempt)
    }

    /// How long to wait before a call, when a connection is gone.
    pub fn pause(self, attempt: u32) -> Duration {
        match attempt {
            0 => self.within(FIRST_CALL, attempt),
            _ => REDIAL + self.within(2 * REDIAL, attempt),
        }
    }

    /// From nothing to less than `most`, another time at each attempt.
    pub fn within(self, most: Duration, attempt: u32) -> Duration {
        let mut hasher = SipHasher13::new();
        (self.0, attempt).hash(&mut hasher);
        let [a, b, ..] = hasher.finish().to_be_bytes();
        most * u32::from(u16::from_be_bytes([a, b])) / (1 << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machines() -> impl Iterator<Item = Spread> {
        (0..200).map(|number| Spread::of(Mac([0x52, 0x54, 0, 0x12, 0, number])))
    }

    /// How many of them fall into the fullest tenth of the time in which all do.
    fn fullest_tenth(times: impl Iterator<Item = Duration>, from: Duration, to: Duration) -> usize {
        let mut tenths = [0; 10];
        for time in times {
            assert!((from..to).contains(&time), "{time:?}");
            let tenth = (time - from).as_nanos() * 10 / (to - from).as_nanos();
            tenths[usize::try_from(tenth).unwrap()] += 1;
        }
        tenths.into_iter().max().unwrap()
    }

    #[test]
    fn two_hundred_machines_never_call_in_one_moment() {
        let seconds = Duration::from_secs_f64;
        for attempt in 0..5 {
            let (from, to) = if attempt == 0 { (0.0, 0.5) } else { (1.0, 3.0) };
            let pauses = machines().map(|machine| machine.pause(attempt));
            assert!(fullest_tenth(pauses, seconds(from), seconds(to)) <= 40, "attempt {attempt}");
            let (from, to) = if attempt == 0 { (5.0, 10.0) } else { (10.0, 20.0) };
            let greetings = machines().map(|machine| machine.greeting(attempt));
            assert!(fullest_tenth(greetings, seconds(from), seconds(to)) <= 40, "attempt {attempt}");
        }
    }

    #[test]
    fn who_called_together_once_doesnt_again() {
        let mut times: Vec<_> = machines().map(|machine| (machine.pause(1), machine.pause(2))).collect();
        times.sort_unstable();
        let later = |pair: &&[(Duration, Duration)]| pair[0].1 <= pair[1].1;
        let in_order = times.windows(2).filter(later).count();
        assert!((70..=130).contains(&in_order), "{in_order} of 199 in the order of the first time");
    }
}

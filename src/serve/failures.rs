//! The log lines of failures: the first of a kind at once, and then how many more there were, once a minute.
//!
//! A disk with a bad sector and a hundred clients fail thousands of times in a second, all for one reason. A kind is what
//! failed, on which ISO, for which reason; numbers in the reason, such as offsets, make no other one. There is one thread
//! for the counts, as long as there is something to count.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often a kind has a line.
const PAUSE: Duration = Duration::from_secs(60);

/// Kinds that are told apart: each takes some hundred bytes.
const MOST_KINDS: usize = 1024;

/// What stands in the place of the reason when there are too many.
const ANY_REASON: &str = "further reasons";

/// Counts failures, and tells of them.
#[derive(Clone)]
pub struct Failures(Arc<Shared>);

type Say = Box<dyn Fn(log::Level, &str) + Send + Sync>;

struct Shared {
    pause: Duration,
    say: Say,
    kinds: Mutex<HashMap<Kind, Count>>,
}

/// Operation, number of the ISO or inode, and reason.
type Kind = (&'static str, u64, String);

struct Count {
    since: Instant,
    level: log::Level,
    /// What is said of it.
    line: String,
    /// Those that nothing was said of.
    more: u64,
}

impl Default for Failures {
    fn default() -> Self {
        Self::new(PAUSE, |level, line| log::log!(level, "{line}"))
    }
}

impl Failures {
    fn new(pause: Duration, say: impl Fn(log::Level, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { pause, say: Box::new(say), kinds: Mutex::default() }))
    }

    /// Tells of a failure of `operation` on the ISO or inode with that number, or counts it. `line` is what is said before
    /// the reason; it is only asked for if it is needed.
    pub fn tell(
        &self,
        level: log::Level,
        (operation, number): (&'static str, u64),
        reason: &str,
        line: impl FnOnce() -> String,
    ) {
        let Shared { kinds, say, .. } = &*self.0;
        let mut kinds = kinds.lock();
        let mut kind = (operation, number, without_numbers(reason));
        if kinds.len() >= MOST_KINDS && !kinds.contains_key(&kind) {
            kind = (operation, 0, ANY_REASON.to_owned());
        }
        if let Some(count) = kinds.get_mut(&kind) {
            count.more += 1;
            return;
        }
        let line = line();
        say(level, &format!("{line}: {reason}"));
        let count = Count { since: Instant::now(), level, line: format!("{line}: {}", kind.2), more: 0 };
        kinds.insert(kind, count);
        if kinds.len() == 1 {
            self.start_counting();
        }
    }

    fn start_counting(&self) {
        let shared = self.0.clone();
        // Without the thread, what has been said is not said again.
        let _ = std::thread::Builder::new().name("failures".into()).spawn(move || shared.count());
    }
}

impl Shared {
    /// Tells of those that have come meanwhile, until there have been none for a while.
    fn count(&self) {
        loop {
            std::thread::sleep(self.pause / 4);
            let mut kinds = self.kinds.lock();
            kinds.retain(|_, count| {
                if count.since.elapsed() < self.pause {
                    return true;
                }
                let more = std::mem::take(&mut count.more);
                if more > 0 {
                    let seconds = count.since.elapsed().as_secs();
                    (self.say)(count.level, &format!("{}: {more} more in {seconds} seconds", count.line));
                    count.since = Instant::now();
                }
                more > 0
            });
            if kinds.is_empty() {
                return;
            }
        }
    }
}

/// A reason, with one sign for each number in it.
fn without_numbers(reason: &str) -> String {
    let mut kind = String::with_capacity(reason.len());
    for symbol in reason.chars() {
        match symbol.is_ascii_digit() {
            true if kind.ends_with('#') => {}
            true => kind.push('#'),
            false => kind.push(symbol),
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn failures(pause: Duration) -> (Failures, Receiver<String>) {
        let (sender, lines) = channel();
        let say = move |level: log::Level, line: &str| sender.send(format!("{level} {line}")).unwrap();
        (Failures::new(pause, say), lines)
    }

    fn fail(failures: &Failures, iso: u64, reason: &str) {
        failures.tell(log::Level::Error, ("read", iso), reason, || format!("read iso{iso}"));
    }

    #[test]
    fn the_first_of_a_kind_is_told_at_once_and_the_others_are_counted() {
        let (failures, lines) = failures(Duration::from_millis(40));
        for offset in 0..1000 {
            fail(&failures, 1, &format!("it ends at byte {offset}"));
        }
        let line = || lines.recv_timeout(PATIENCE).unwrap();
        assert_eq!(line(), "ERROR read iso1: it ends at byte 0");
        // How often there was time to tell of them is the machine's affair; that all are told of is not.
        let mut counted = 0;
        while counted < 999 {
            let line = line();
            let (before, after) = line.split_once(" more in ").unwrap();
            assert_eq!(after, "0 seconds");
            counted +=
                before.strip_prefix("ERROR read iso1: it ends at byte #: ").unwrap().parse::<u64>().unwrap();
        }
        assert_eq!(counted, 999);
    }

    #[test]
    fn another_iso_or_another_reason_has_a_line_of_its_own() {
        let (failures, lines) = failures(PATIENCE);
        for _ in 0..3 {
            fail(&failures, 1, "no answer");
            fail(&failures, 2, "no answer");
            fail(&failures, 1, "it has changed");
        }
        let lines: Vec<_> = lines.try_iter().collect();
        assert_eq!(
            lines,
            ["ERROR read iso1: no answer", "ERROR read iso2: no answer", "ERROR read iso1: it has changed"]
        );
    }

    #[test]
    fn reasons_without_end_are_one() {
        let (failures, lines) = failures(PATIENCE);
        for number in 0..5000 {
            let reason: String =
                format!("{number}").chars().map(|c| char::from(c as u8 - b'0' + b'a')).collect();
            fail(&failures, 1, &reason);
        }
        assert_eq!(lines.try_iter().count(), MOST_KINDS + 1);
    }
}

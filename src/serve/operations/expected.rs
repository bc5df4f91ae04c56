//! ISOs that were served by a process before this one and have not answered yet: whoever asks for what they may be in waits for
//! them, for some time, and all others are served.
//!
//! An answer without them would be an error, or a menu without an entry, that clients of an undisturbed mount don't get.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::image::label::Label;
use crate::storage::identity::identity;

/// The ISOs. Nobody waits if there are none.
#[derive(Default)]
pub(super) struct Expected {
    any: AtomicBool,
    isos: Mutex<Option<Isos>>,
    changed: Condvar,
}

pub(super) struct Isos {
    labels: HashSet<Label>,
    until: Instant,
}

/// What an answer may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// All of them: a menu, a listing.
    Any,
    /// The one of this number.
    One(u64),
}

impl Isos {
    /// What a name may belong to.
    pub fn of_name(&self, name: &str) -> Option<Lack> {
        let label = self.labels.iter().find(|label| name.contains(label.as_str()))?;
        Some(Lack::One(identity(&label.as_str())))
    }
}

impl Lack {
    /// A number for all that wait for the same.
    pub fn number(self) -> u64 {
        match self {
            Self::Any => 0,
            Self::One(iso) => iso,
        }
    }
}

impl Expected {
    /// Begins.
    pub fn begin(&self, labels: HashSet<Label>, until: Instant) {
        self.any.store(!labels.is_empty(), Ordering::Release);
        *self.isos.lock() = Some(Isos { labels, until });
    }

    /// Only these have not answered by now.
    pub fn keep_only(&self, labels: &HashSet<Label>) {
        let mut isos = self.isos.lock();
        if let Some(isos) = &mut *isos {
            isos.labels.retain(|label| labels.contains(label));
        }
        self.forget_if_over(&mut isos);
        self.changed.notify_all();
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire) && {
            let mut isos = self.isos.lock();
            self.forget_if_over(&mut isos);
            isos.is_some()
        }
    }

    /// What an answer would lack now.
    pub fn lack(&self, of: impl Fn(&Isos) -> Option<Lack>) -> Option<Lack> {
        if self.any() { self.isos.lock().as_ref().and_then(of) } else { None }
    }

    /// Waits until an answer lacks nothing, or for as long as one is to wait.
    pub fn wait(&self, of: impl Fn(&Isos) -> Option<Lack>) {
        if !self.any() {
            return;
        }
        let mut isos = self.isos.lock();
        while let Some(expected) = isos.as_ref().filter(|isos| of(isos).is_some()) {
            let until = expected.until;
            self.changed.wait_until(&mut isos, until);
            self.forget_if_over(&mut isos);
        }
    }

    fn forget_if_over(&self, isos: &mut Option<Isos>) {
        let over = |isos: &Isos| isos.labels.is_empty() || Instant::now() >= isos.until;
        if isos.as_ref().is_some_and(over) {
            *isos = None;
            self.any.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread::spawn;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn labels(labels: &[&str]) -> HashSet<Label> {
        labels.iter().map(|label| Label::parse(label).unwrap()).collect()
    }

    fn expects(of: &[&str], how_long: Duration) -> Arc<Expected> {
        let expected = Arc::new(Expected::default());
        expected.begin(labels(of), Instant::now() + how_long);
        expected
    }

    #[test]
    fn who_asks_for_one_waits_for_that_one_and_who_asks_for_all_for_all() {
        let expected = expects(&["F42", "deb-12"], LONG);
        let one = |name: &'static str| move |isos: &Isos| isos.of_name(name);
        assert_eq!(expected.lack(one("vmlinuz_F41")), None);
        let lack = expected.lack(one("vmlinuz_F42")).unwrap();
        assert_ne!(lack.number(), expected.lack(one("deb-12.iso")).unwrap().number());
        assert_ne!(lack.number(), Lack::Any.number());
        let waiter = |of: fn(&Isos) -> Option<Lack>| {
            let expected = expected.clone();
            spawn(move || expected.wait(of))
        };
        let (f42, all) = (waiter(|isos| isos.of_name("F42.iso")), waiter(|_| Some(Lack::Any)));
        expected.wait(one("F41.iso"));
        expected.keep_only(&labels(&["deb-12", "another"]));
        f42.join().unwrap();
        assert!(expected.any() && !all.is_finished());
        expected.keep_only(&labels(&[]));
        all.join().unwrap();
        assert!(!expected.any());
    }

    #[test]
    fn nobody_waits_for_longer_than_agreed_nor_for_nothing() {
        let expected = expects(&["F42"], Duration::from_millis(20));
        expected.wait(|_| Some(Lack::Any));
        assert!(!expected.any());
        expects(&[], LONG).wait(|_| Some(Lack::Any));
        Expected::default().wait(|_| Some(Lack::Any));
    }
}

//! Backing files that may not answer when they are opened anew: they are then read as soon as they do.
//!
//! A process that goes on with what another one has left open can't choose when: at that moment a file server may be away,
//! or a disk have an error. That costs who reads that file, and nobody else.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::storage::backing::Backing;
use crate::storage::source::ReadAt;
use crate::storage::unchanged::OVERWRITTEN;
use crate::storage::workers::{Limits, Workers};

/// One that hangs keeps no other.
const OPENS: Limits =
    Limits { name: "reopen", threads: 256, per_key: 1, waiting: usize::MAX, patience: None, nice: false };

/// An open file that has to be looked at before it can be read, with the fingerprint ([`ReadAt::origin`]) that it had.
#[derive(Clone)]
pub struct Needed {
    /// The file.
    pub file: Arc<File>,
    /// Its fingerprint.
    pub fingerprint: u64,
}

/// How such a file becomes one that is served.
type Open = dyn Fn(Arc<File>) -> io::Result<Backing> + Send + Sync;

struct Late {
    of: Needed,
    open: Arc<Open>,
    /// `None` if it is another image by now.
    opened: OnceLock<Option<Backing>>,
    opening: Mutex<()>,
}

/// Opens files, each with a number of its own, side by side. Those that have not answered after so long, or can't be read
/// now, are opened when they answer, or are read.
///
/// The flag says whether there are any of these.
pub fn open_all(
    files: HashMap<u64, Needed>,
    open: impl Fn(Arc<File>) -> io::Result<Backing> + Send + Sync + 'static,
    patience: Duration,
) -> (HashMap<u64, Backing>, bool) {
    let open: Arc<Open> = Arc::new(open);
    // They go on without this one when it is dropped; what then has no thread yet is opened when it is read.
    let workers = Workers::new(OPENS);
    let (sender, inbox) = channel();
    let late: HashMap<u64, Arc<Late>> = files
        .into_iter()
        .map(|(number, of)| {
            let late = Late { of, open: open.clone(), opened: OnceLock::new(), opening: Mutex::default() };
            (number, Arc::new(late))
        })
        .collect();
    for (number, late) in &late {
        let (late, sender) = (late.clone(), sender.clone());
        workers.run_or_do(*number, move || {
            // An error is its readers'.
            let _ = late.backing();
            // Whoever has lost patience doesn't listen.
            let _ = sender.send(());
        });
    }
    let deadline = Instant::now() + patience;
    for _ in 0..late.len() {
        if inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
            break;
        }
    }
    let any = late.values().any(|late| late.opened.get().is_none());
    let backing = |late: Arc<Late>| match late.known() {
        Some(Ok(backing)) => backing.clone(),
        _ => Backing::from(late),
    };
    (late.into_iter().map(|(number, late)| (number, backing(late))).collect(), any)
}

impl Late {
    /// The file as it is served, if that is known.
    fn known(&self) -> Option<io::Result<&Backing>> {
        Some(self.opened.get()?.as_ref().ok_or_else(|| io::Error::other(OVERWRITTEN)))
    }

    /// The file as it is served. Whoever comes while it is being opened waits for that.
    fn backing(&self) -> io::Result<&Backing> {
        let _one = self.opening.lock();
        if self.opened.get().is_none() {
            let backing = (self.open)(self.of.file.clone())?;
            let same = backing.origin().is_some_and(|(_, now)| now == self.of.fingerprint);
            // Nobody else does it.
            let _ = self.opened.set(same.then_some(backing));
        }
        self.known().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
    }
}

impl ReadAt for Late {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.known().unwrap_or_else(|| self.backing())?.read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.known().unwrap_or_else(|| self.backing()).map_or(0, |backing| backing.len())
    }

    fn origin(&self) -> Option<(Arc<File>, u64)> {
        Some((self.of.file.clone(), self.of.fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::Condvar;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(10);

    /// A file in memory of one byte over and over, with a fingerprint.
    struct Filed(u8, u64);

    impl ReadAt for Filed {
        fn read_exact_at(&self, buf: &mut [u8], _offset: u64) -> io::Result<()> {
            buf.fill(self.0);
            Ok(())
        }

        fn len(&self) -> u64 {
            9
        }

        fn origin(&self) -> Option<(Arc<File>, u64)> {
            Some((Arc::new(tempfile::tempfile().unwrap()), self.1))
        }
    }

    fn needed(fingerprint: u64) -> HashMap<u64, Needed> {
        HashMap::from([(7, Needed { file: Arc::new(tempfile::tempfile().unwrap()), fingerprint })])
    }

    fn read(source: &impl ReadAt) -> io::Result<u8> {
        let mut byte = [0];
        source.read_exact_at(&mut byte, 0).map(|()| byte[0])
    }

    #[test]
    fn what_answers_is_there_at_once() {
        let (opened, late) = open_all(needed(3), |_| Ok(Arc::new(Filed(5, 3)).into()), LONG);
        assert_eq!((read(&opened[&7]).unwrap(), opened[&7].len(), late), (5, 9, false));
    }

    #[test]
    fn what_does_not_answer_is_waited_for_by_its_readers() {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let closed = gate.clone();
        let open = move |_| {
            closed.1.wait_while(&mut closed.0.lock(), |open| !*open);
            Ok(Arc::new(Filed(5, 3)).into())
        };
        let (opened, late) = open_all(needed(3), open, SHORT);
        assert!(late);
        assert_eq!(opened[&7].origin().unwrap().1, 3, "that is known");
        let reader = std::thread::spawn(move || read(&opened[&7]));
        *gate.0.lock() = true;
        gate.1.notify_all();
        assert_eq!(reader.join().unwrap().unwrap(), 5);
    }

    #[test]
    fn what_can_not_be_opened_now_is_tried_by_its_readers_again() {
        let broken = Arc::new(AtomicBool::new(true));
        let is_broken = broken.clone();
        let open = move |_| match is_broken.load(Ordering::Relaxed) {
            true => Err(io::Error::from_raw_os_error(libc::EIO)),
            false => Ok(Arc::new(Filed(5, 3)).into()),
        };
        let (opened, late) = open_all(needed(3), open, LONG);
        assert!(late);
        assert_eq!(read(&opened[&7]).unwrap_err().raw_os_error(), Some(libc::EIO));
        broken.store(false, Ordering::Relaxed);
        assert_eq!(read(&opened[&7]).unwrap(), 5);
    }

    #[test]
    fn another_image_is_never_read() {
        let (opened, late) = open_all(needed(3), |_| Ok(Arc::new(Filed(5, 4)).into()), LONG);
        assert!(!late);
        assert!(read(&opened[&7]).unwrap_err().to_string().contains(OVERWRITTEN));
    }
}

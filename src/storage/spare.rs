//! A descriptor that is kept for when there is no other left.

use std::fs::File;
use std::io;

use parking_lot::Mutex;

/// Two descriptors, as listing a directory needs.
pub struct Spare(Mutex<Vec<File>>);

const COUNT: usize = 2;

impl Spare {
    /// Takes them.
    pub fn new() -> Self {
        let spare = Self(Mutex::default());
        spare.refill();
        spare
    }

    /// Does something that needs descriptors; if there are none, once more with those that were kept. Others that are in
    /// need too may be faster.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn with<T>(&self, call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let result = match call() {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                self.0.lock().clear();
                call()
            }
            result => result,
        };
        self.refill();
        result
    }

    fn refill(&self) {
        let mut kept = self.0.lock();
        while kept.len() < COUNT
            && let Ok(file) = File::open("/dev/null")
        {
            kept.push(file);
        }
    }
}

impl Default for Spare {
    fn default() -> Self {
        Self::new()
    }
}

//! This process as the one that reads: does over one connection what Linux's nbd does, and has no disk to show for it.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::{Condvar, Mutex};

use crate::disk::DEAD_CONN_TIMEOUT;
use crate::nbd;
use crate::reader::{Counts, Reader};

/// A reader that others see too: the keeper, beside the one who wants the bytes.
#[derive(Debug, Clone)]
pub struct Here(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    replaced: Condvar,
}

#[derive(Debug)]
struct State {
    /// `None` from when it was found dead.
    socket: Option<Arc<TcpStream>>,
    counts: Counts,
}

impl Here {
    /// Reads over that connection.
    ///
    /// # Errors
    /// The kernel's, for want of descriptors.
    pub fn new(socket: &TcpStream) -> io::Result<Self> {
        let state = State { socket: Some(Arc::new(socket.try_clone()?)), counts: Counts::default() };
        Ok(Self(Arc::new(Shared { state: Mutex::new(state), replaced: Condvar::new() })))
    }

    /// Fills the buffer, over a later connection where one breaks.
    ///
    /// # Errors
    /// A server's error, and a connection that nobody replaces.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.0.state.lock().counts.waiting = 1;
        loop {
            let socket = self.socket(Duration::from_secs(DEAD_CONN_TIMEOUT))?;
            match nbd::read(&mut &*socket, offset, buffer) {
                Ok(()) => break,
                Err(nbd::Error::Read(number)) => {
                    return Err(nbd::Error::Read(number)).context(format!("at byte {offset}"));
                }
                Err(_) => self.bury(&socket),
            }
        }
        let mut state = self.0.state.lock();
        state.counts = Counts { answered: state.counts.answered + 1, waiting: 0 };
        Ok(())
    }

    /// The connection, once there is one.
    fn socket(&self, patience: Duration) -> Result<Arc<TcpStream>> {
        let mut state = self.0.state.lock();
        let missing = |state: &mut State| state.socket.is_none();
        self.0.replaced.wait_while_for(&mut state, missing, patience);
        match &state.socket {
            Some(socket) => Ok(Arc::clone(socket)),
            None => bail!("no connection to an NBD server for {} s", patience.as_secs()),
        }
    }

    /// Unless it has been replaced meanwhile.
    fn bury(&self, dead: &Arc<TcpStream>) {
        self.0.state.lock().socket.take_if(|socket| Arc::ptr_eq(socket, dead));
    }
}

impl Reader for Here {
    /// As Linux's nbd, but that a connection over which nothing is read may be alive.
    fn replace(&self, socket: &TcpStream) -> io::Result<()> {
        let new = Arc::new(socket.try_clone()?);
        let mut state = self.0.state.lock();
        if state.socket.is_some() && state.counts.waiting > 0 {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        state.socket = Some(new);
        self.0.replaced.notify_all();
        Ok(())
    }

    fn counts(&self) -> Counts {
        self.0.state.lock().counts
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Both ends of a connection.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    /// Answers one read: the error, and these bytes if there is none.
    fn answer(far: &mut TcpStream, error: u32, bytes: &[u8]) {
        let mut request = [0; 28];
        far.read_exact(&mut request).unwrap();
        let magic = 0x6744_6698_u32.to_be_bytes();
        far.write_all(&[&magic[..], &error.to_be_bytes(), &request[8..16], bytes].concat()).unwrap();
    }

    #[test]
    fn a_read_goes_on_over_the_next_connection() {
        let (near, mut far) = pair();
        let here = Here::new(&near).unwrap();
        let reading = {
            let here = here.clone();
            thread::spawn(move || {
                let mut bytes = [0; 4];
                here.read(512, &mut bytes).map(|()| bytes)
            })
        };
        // In the middle of it the server is gone.
        far.read_exact(&mut [0; 28]).unwrap();
        assert_eq!(here.counts(), Counts { answered: 0, waiting: 1 });
        let (new, mut other) = pair();
        assert!(here.replace(&new).is_err(), "it doesn't know yet that the first one is dead");
        drop(far);
        while here.replace(&new).is_err() {
            thread::yield_now();
        }
        answer(&mut other, 0, b"disc");
        assert_eq!(&reading.join().unwrap().unwrap(), b"disc");
        assert_eq!(here.counts(), Counts { answered: 1, waiting: 0 });
    }

    #[test]
    fn a_servers_error_is_the_readers() {
        let (near, mut far) = pair();
        let here = Here::new(&near).unwrap();
        let serving = thread::spawn(move || answer(&mut far, 5, b""));
        let said = format!("{:#}", here.read(4096, &mut [0; 4]).unwrap_err());
        assert_eq!(said, "at byte 4096: the server can't read the disk (NBD error 5)");
        serving.join().unwrap();
    }

    #[test]
    fn a_connection_that_nobody_replaces_is_missed() {
        let (near, _far) = pair();
        let here = Here::new(&near).unwrap();
        here.bury(&here.socket(Duration::ZERO).unwrap());
        let said = here.socket(Duration::ZERO).unwrap_err().to_string();
        assert!(said.contains("no connection"), "{said}");
        here.replace(&near).unwrap();
        assert!(here.socket(Duration::ZERO).is_ok());
    }
}

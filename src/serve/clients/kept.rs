//! The machines and the last boots, kept in the state directory from one process to the next: after a takeover it is known
//! who reads on, after a restart who booted what.
//!
//! A file that can't be read is thrown away; one that can't be written costs the next process what this one knew.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Clients;
use crate::storage::state::StateDir;
use crate::tree::render::status::{Boot, Machine};

/// Name of the file in the state directory.
const FILE_NAME: &str = "machines.json";

/// Version of its format.
const VERSION: u32 = 1;

/// Longest file: of the most machines there are, with the longest names there are.
const MAX_LEN: u64 = 64 << 20;

/// How long more changes are waited for, so that a hundred machines that are switched on together are written once.
const TOGETHER: Duration = Duration::from_secs(1);

/// How often it is written down what machines have read meanwhile.
const PROGRESS: Duration = Duration::from_secs(60);

/// What is written.
#[derive(Default, Serialize, Deserialize)]
pub struct Kept {
    version: u32,
    /// With the handles of their images.
    pub machines: Vec<(Machine, Vec<u64>)>,
    /// The last one first.
    pub boots: Vec<Boot>,
}

impl Kept {
    /// What is to be written.
    pub fn new(machines: Vec<(Machine, Vec<u64>)>, boots: Vec<Boot>) -> Self {
        Self { version: VERSION, machines, boots }
    }

    /// What the process before this one has written.
    pub fn load(state: &StateDir) -> Self {
        let bytes = state.read(FILE_NAME, MAX_LEN).unwrap_or_default();
        let kept: Self = serde_json::from_slice(&bytes).unwrap_or_default();
        if kept.version == VERSION { kept } else { Self::default() }
    }

    fn save(&self, state: &StateDir) -> std::io::Result<()> {
        state.write(FILE_NAME, &serde_json::to_vec(self)?)
    }
}

/// Who is told that there is something to write; nobody, where nothing is kept.
#[derive(Default)]
pub struct Writer(Option<Sender<()>>);

impl Writer {
    /// Something has changed.
    pub fn changed(&self) {
        // A thread that has ended keeps nothing.
        let _ = self.0.as_ref().map(|writer| writer.send(()));
    }
}

/// Writes from now on, in a thread of its own, what changes.
///
/// # Errors
/// If no thread can be started.
pub fn start(clients: &Arc<Clients>, state: Arc<StateDir>) -> std::io::Result<()> {
    let (sender, changes) = channel();
    clients.writer.lock().0 = Some(sender);
    let clients = clients.clone();
    std::thread::Builder::new().name("machines".into()).spawn(move || write(&clients, &changes, &state))?;
    Ok(())
}

fn write(clients: &Clients, changes: &Receiver<()>, state: &StateDir) {
    let mut said = false;
    loop {
        match changes.recv_timeout(PROGRESS) {
            Ok(()) => std::thread::sleep(TOGETHER),
            Err(RecvTimeoutError::Timeout) if clients.any_connected() => {}
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while changes.try_recv().is_ok() {}
        if let Err(error) = clients.kept().save(state)
            && !std::mem::replace(&mut said, true)
        {
            log::warn!("which machines boot what can't be kept for the next start: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_what_is_broken_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::take(directory.path()).unwrap();
        assert!(Kept::load(&state).machines.is_empty());
        let machine = Machine { addresses: vec!["10.0.0.1".into()], ..Machine::default() };
        let boot = Boot { time: 5, ..Boot::default() };
        Kept::new(vec![(machine.clone(), vec![7])], vec![boot.clone()]).save(&state).unwrap();
        let kept = Kept::load(&state);
        assert_eq!((kept.machines, kept.boots), (vec![(machine, vec![7])], vec![boot]));
        for broken in ["{", "{\"version\":2,\"machines\":[],\"boots\":[]}", "[]"] {
            state.write(FILE_NAME, broken.as_bytes()).unwrap();
            assert!(Kept::load(&state).boots.is_empty(), "{broken}");
        }
    }
}

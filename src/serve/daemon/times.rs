//! The times of rendered files: each has that of its content's last change, kept in the state directory.
//!
//! The newest ISO's time, which it would have otherwise, stays the same when a menu changes to one of the same length, and
//! web servers and rsync would take it for the same file. Where nothing is known of a file, it has that time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::storage::state::StateDir;
use crate::tree::arena::Tree;

/// Name of the file in the state directory.
const FILE_NAME: &str = "times.json";

/// Longest file: menus of a hundred thousand machines.
const MAX_LEN: u64 = 64 << 20;

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What is known of a file: identity of its content, and since when it is so, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Dated(u64, u64);

/// The times of all rendered files, by path.
pub struct Times {
    state: Option<Arc<StateDir>>,
    known: BTreeMap<String, Dated>,
    /// Whether there is something to write.
    changed: bool,
    said: bool,
}

impl Times {
    /// Those of the process before this one; without a state directory, none.
    pub fn load(state: Option<Arc<StateDir>>) -> Self {
        let bytes = state.as_ref().and_then(|state| state.read(FILE_NAME, MAX_LEN).ok());
        let known = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { state, known, changed: false, said: false }
    }

    /// Gives the rendered files of a tree their times.
    pub fn date(&mut self, tree: &mut Tree) {
        let mut now = BTreeMap::new();
        tree.date_rendered(|path, identity, newest| {
            let dated = self.dated(&path, identity, newest);
            now.insert(path, dated);
            UNIX_EPOCH + Duration::from_nanos(dated.1)
        });
        self.changed |= self.known != now;
        self.known = now;
    }

    /// Writes them down, if there is anything new. That may wait for the disk, and nobody else should wait for it.
    pub fn save(&mut self) {
        let Some(state) = self.state.as_ref().filter(|_| self.changed) else { return };
        self.changed = false;
        let saved = serde_json::to_vec(&self.known).map_err(Into::into);
        if let Err(error) = saved.and_then(|bytes| state.write(FILE_NAME, &bytes))
            && !std::mem::replace(&mut self.said, true)
        {
            log::warn!("the times of menus can't be kept for the next start: {error}");
        }
    }

    fn dated(&self, path: &str, identity: u64, newest: SystemTime) -> Dated {
        match self.known.get(path) {
            Some(same @ Dated(before, _)) if *before == identity => *same,
            // Later than before, whatever the clock says, and by a second at least: HTTP tells no finer times.
            Some(Dated(_, then)) => Dated(identity, nanoseconds(SystemTime::now()).max(then + SECOND)),
            None => Dated(identity, nanoseconds(newest)),
        }
    }
}

/// As far as the year 2554.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::content::Content;
    use crate::tree::arena::Builder;

    const NEWEST: u64 = 1_000_000_000_123;

    fn time(times: &mut Times, text: &str) -> u64 {
        let newest = UNIX_EPOCH + Duration::from_nanos(NEWEST);
        let mut builder = Builder::new(newest);
        builder.file(Tree::ROOT, "menu", Content::text(text.into()), newest);
        let mut tree = builder.build();
        times.date(&mut tree);
        times.save();
        nanoseconds(tree.resolve("menu").unwrap().mtime)
    }

    #[test]
    fn a_file_has_the_time_of_its_last_change_also_in_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let state = Arc::new(StateDir::take(directory.path()).unwrap());
        let mut times = Times::load(Some(state.clone()));
        let before = nanoseconds(SystemTime::now());
        assert_eq!((time(&mut times, "a"), time(&mut times, "a")), (NEWEST, NEWEST));
        let changed = time(&mut times, "b");
        assert!(changed >= before, "{changed}");
        let mut next = Times::load(Some(state));
        assert_eq!(time(&mut next, "b"), changed);
        let again = time(&mut next, "a");
        assert!(again >= changed + SECOND, "{again}");
        assert_eq!(time(&mut Times::load(None), "a"), NEWEST);
    }
}

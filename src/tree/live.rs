//! Files whose bytes are made when somebody looks their names up, and are other ones the next time.
//!
//! An inode number stands for its bytes here as everywhere: each look-up has a node of its own for what there is then, and
//! whoever has that open reads it to its end, however often the name has come to stand for something else meanwhile.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::arena::{Kind, Node};
use super::lazy;
use crate::storage::content::Content;
use crate::storage::identity::identity;

/// The bytes of such a file at one moment.
#[derive(Clone)]
pub struct Moment {
    /// The bytes.
    pub content: Arc<Content>,
    /// The moment.
    pub time: SystemTime,
}

/// Such a file.
pub trait Live: Send + Sync {
    /// Its bytes as they are now for the process of that number, without waiting for anything.
    ///
    /// # Errors
    /// If there are none outside of a mount.
    fn now(&self, asker: u32) -> io::Result<Moment>;
}

/// The node for what the bytes of `live`, which has that inode number in the arena, are now for a process.
///
/// # Errors
/// As for [`Live::now`].
pub fn node(live: &dyn Live, ino: u64, asker: u32) -> io::Result<Node> {
    let Moment { content, time } = live.now(asker)?;
    let ino = lazy::ino(identity(&(ino, content.identity())));
    Ok(Node { ino, mtime: time, kind: Kind::Moment(content) })
}

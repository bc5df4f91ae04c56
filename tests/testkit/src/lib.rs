//! The common ground of the tests, the boots and the benchmark: programs that are started and ended, a network of their
//! own, a mounted netrootfs, discs whose bytes are known, and small clients of the protocols.
//!
//! It knows netrootfs as a program only, and nothing of its library. What one of the three alone needs lies there.

pub mod built;
pub mod disc;
pub mod nbd;
pub mod netns;
pub mod netrootfs;
pub mod ports;
pub mod process;
pub mod promise;
pub mod pty;
pub mod tftp;
pub mod uml;
pub mod work;

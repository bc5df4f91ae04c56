//! What outlives the daemon: a mount is served on by the process that comes after it.
//!
//! The kernel keeps a FUSE connection for as long as one descriptor of it is open, and requests wait meanwhile. So somebody
//! else holds the descriptors ([`store`]): systemd, or a small parent of our own ([`holder`]). Among them is a file in
//! memory ([`slots`]) that says what is open ([`ledger`]); the kernel is told to send again what was under way
//! ([`resend`]). Held are, too, what the configuration file said ([`settings`]), what the administrator's
//! command was run for ([`told`]), and what would keep others waiting for the end of a process ([`queues`]), or that only one can have
//! ([`claims`]). [`upgrade`] does it on purpose.
//!
//! Nothing here knows the FUSE library. Without a holder all of it costs nothing and does nothing.

pub mod claims;
pub mod holder;
pub mod ledger;
pub mod queues;
pub mod resend;
pub mod settings;
pub mod slots;
pub mod store;
pub mod told;
pub mod upgrade;

//! How an ISO boots over a network.
//!
//! [`inspect`] looks into one ISO: its [family], kernel, initrds, root image, and the entries of its own menu. [`plan`]
//! makes the kernel arguments that attach its root from these [servers]. [`netroot`] packs the second initramfs for
//! ISOs that can't attach it themselves, and [`loader`] finds the loaders that this host has installed.
//!
//! Uses `image` and `storage`. Knows one ISO at a time; neither the directory it lies in nor the tree that shows it.

pub mod family;
pub mod inspect;
pub mod loader;
pub mod netroot;
pub mod plan;
pub mod servers;

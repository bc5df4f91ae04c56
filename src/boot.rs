//! How an ISO boots over a network.
//!
//! [`inspect`] looks into one ISO: its [family](families), kernel, initrds, root image, and the entries of its own menu.
//! [`plan`] makes the kernel arguments that attach its root from these [servers], or says for which [reason](reasons) there
//! are none. [`netroot`] packs the second initramfs for ISOs that can't attach it themselves, and
//! [`loader`] finds the loaders that this host has installed. What all of it is called is in [`names`], and how netroot-init
//! says how far it came in [`step`].
//!
//! Uses `image` and `storage`. Knows one ISO at a time; neither the directory it lies in nor the tree that shows it.

pub mod families;
pub mod format;
pub mod inspect;
pub mod live;
pub mod loader;
pub mod names;
pub mod netroot;
pub mod plan;
pub mod reasons;
pub mod servers;
pub mod step;
pub mod transport;

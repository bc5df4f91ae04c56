//! netrootfs: a directory of live ISOs, presented as a netboot tree.
pub mod menu;
pub mod source;

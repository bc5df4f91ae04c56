//! netrootfs: a directory of live ISOs, presented as a netboot tree.
pub mod source;

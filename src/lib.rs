//! netrootfs: a directory of live ISOs, presented as a netboot tree.
pub mod initrd;
pub mod source;

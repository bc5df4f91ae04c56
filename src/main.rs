//! The `netrootfs` command.
fn main() {}

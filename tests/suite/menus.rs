//! The readers of the menus that ISOs carry: real menus, and hostile ones.

mod hostile;
mod people;
mod samples;

//! What is in an ISO, from bytes: its [file system](iso), its [boot menus](menu), its [initrds](initrd), the lists of
//! [kernel modules](modules) and its [EFI loaders](efi); and the words that come out of it: [labels](label) and [kernel
//! arguments](args), [addresses of network cards](mac), the name of its [product].
//!
//! Uses `storage`. Nothing here opens a file, and nothing decides how a machine is booted. All of it is foreign: every
//! number is checked where it enters, each reader ends by a named limit, and what is wrong with an ISO is a sentence.

pub mod args;
pub mod cpio;
pub mod efi;
pub mod initrd;
pub mod iso;
pub mod label;
pub mod mac;
pub mod menu;
pub mod modules;
pub mod nics;
pub mod printable;
pub mod product;

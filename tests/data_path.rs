//! The two ways that the bytes of ISOs take, through the kernel alone and through the block cache: that they give the same
//! bytes, and what holds when files are opened, ISOs change and the daemon ends.
//!
//! Needs root, /dev/fuse, fuse3, xorriso, util-linux and Linux 6.12. What is missing is an error, never a pass.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support {
    #[allow(dead_code)]
    pub mod disc;
    #[allow(dead_code)]
    pub mod place;
    #[allow(dead_code)]
    pub mod process;
    pub mod ways;
    #[allow(dead_code)]
    pub mod work;
    pub mod writers;
}

mod paths {
    mod bytes;
    mod changes;
    mod open;
}

//! The mount outlives its daemon: what clients see while it is killed and another one goes on.
//!
//! Needs root, /dev/fuse, fuse3, xorriso, nbd-server, tftpd-hpa and Linux 6.12. What is missing is an error, never a pass.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support {
    #[allow(dead_code)]
    pub mod disc;
    pub mod nbd;
    #[allow(dead_code)]
    pub mod place;
    #[allow(dead_code)]
    pub mod process;
    #[allow(dead_code)]
    pub mod tftp;
    #[allow(dead_code)]
    pub mod work;
    pub mod writers;
}

mod handover {
    mod clients;
    mod ends;
    pub mod kept;
    mod service;
}

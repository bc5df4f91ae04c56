//! The real servers on a mounted tree, each as the user that it runs as on Debian, asked by real clients.
//!
//! Needs root, /dev/fuse, fuse3, xorriso, util-linux, nbd-server, nbdkit, libnbd-bin, tftpd-hpa, tftp-hpa, atftp, dnsmasq
//! and atftpd. The last can't be installed beside tftpd-hpa: `NETROOTFS_ATFTPD` is the path of its program; without it,
//! it is looked for in the PATH and in /var/tmp/netrootfs-tools. What is missing is an error, never a pass.

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

mod serving {
    mod nbd;
    mod tftp;
}

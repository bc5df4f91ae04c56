//! The real servers on a mounted tree, each as the user that it runs as on Debian, asked by real clients.
//!
//! Needs root, /dev/fuse, fuse3, xorriso, util-linux, nbd-server, nbdkit, libnbd-bin, tftpd-hpa, tftp-hpa, atftp, dnsmasq,
//! nginx-light, caddy, apache2 and atftpd. The last can't be installed beside tftpd-hpa: `NETROOTFS_ATFTPD` is the path of
//! its program; without it, it is looked for in the PATH and in /var/tmp/netrootfs-tools. What is missing is an error,
//! never a pass.

mod crowd;
mod http;
mod loaders;
pub mod nbd;
pub mod tftp;

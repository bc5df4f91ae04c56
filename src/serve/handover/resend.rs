//! What the kernel is told after a handover: two notifications that the FUSE library has no name for.
//!
//! They are written to the device as they are (Linux, include/uapi/linux/fuse.h: `fuse_out_header`, `unique` 0, the code
//! in `error`).

use std::io;
use std::os::fd::BorrowedFd;

/// FUSE_NOTIFY_RESEND, Linux 6.9: what was read and not answered is sent again.
const RESEND: i32 = 7;
/// FUSE_NOTIFY_INC_EPOCH, Linux 6.16: all names are looked up again.
const INC_EPOCH: i32 = 8;

/// Has sent again what the process before this one has read and not answered.
///
/// # Errors
/// If the kernel doesn't know how to.
pub fn resend(device: BorrowedFd<'_>) -> io::Result<()> {
    notify(device, RESEND)
}

/// Has names looked up again that may have changed while nobody served them.
///
/// # Errors
/// If the kernel doesn't know how to; it asks again after a second anyhow.
pub fn new_epoch(device: BorrowedFd<'_>) -> io::Result<()> {
    notify(device, INC_EPOCH)
}

fn notify(device: BorrowedFd<'_>, code: i32) -> io::Result<()> {
    let mut header = [0; 16];
    let len = header.len() as u32;
    for (place, byte) in header.iter_mut().zip(len.to_ne_bytes().into_iter().chain(code.to_ne_bytes())) {
        *place = byte;
    }
    rustix::io::write(device, &header)?;
    Ok(())
}

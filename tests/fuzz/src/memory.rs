//! An allocator that ends the process when it holds more than any input may cost.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are held at a time, libFuzzer's own not counted: several of the largest limits of the readers.
pub const MOST: usize = 320 << 20;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, up to [`MOST`].
pub struct Limited;

// SAFETY: each call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

fn take(size: usize) {
    if HELD.fetch_add(size, Ordering::Relaxed).saturating_add(size) > MOST {
        HELD.store(0, Ordering::Relaxed);
        eprintln!("more than {MOST} bytes are held");
        std::process::abort();
    }
}

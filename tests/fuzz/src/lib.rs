//! What is fuzzed: from the bytes that libFuzzer makes to what must hold of the outcome.
//!
//! Each function takes any bytes, and panics if something doesn't hold. Nothing here opens a file. A panic that the program
//! itself catches, of a crate that reads an image, is no finding; memory beyond [`memory::MOST`] is one.

#[allow(dead_code, missing_docs, reason = "as in netroot_init")]
#[path = "../../../src/bin/netroot-init/address.rs"]
mod address;
pub mod images;
pub mod iso;
pub mod memory;
pub mod menus;
pub mod netroot_init;
pub mod scripts;

#[doc(hidden)]
pub use libfuzzer_sys;

use netrootfs::catalog::config::Config;
use netrootfs::image::printable;

/// A fuzz target of one function.
#[macro_export]
macro_rules! target {
    ($function:path) => {
        #[global_allocator]
        static MEMORY: $crate::memory::Limited = $crate::memory::Limited;

        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::quiet(),
            |bytes: &[u8]| $function(bytes)
        );
    };
}

/// Lets panics unwind, as they do in the program. libFuzzer's hook, which ends the process at once, is put away: who calls
/// the target ends it when a panic comes so far.
pub fn quiet() {
    std::panic::set_hook(Box::new(|panic| {
        if std::env::var_os("NETROOTFS_FUZZ_PANICS").is_some() {
            eprintln!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
        }
    }));
}

/// A configuration file: read, or refused with a place in it.
pub fn config(bytes: &[u8]) {
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 1;
    if let Err(fault) = Config::from_bytes(bytes) {
        assert!((1..=lines).contains(&fault.line), "line {} of {lines}", fault.line);
        assert!(!fault.to_string().contains(printable::is_control), "{fault:?}");
    }
}

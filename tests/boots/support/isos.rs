//! Where `scripts/boot-test` and `scripts/boot-matrix` put what they build.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The directory of the ISOs, roots and packages.
pub fn isos() -> Result<PathBuf> {
    let isos = std::env::var_os("NETROOTFS_BOOT_ISOS");
    let isos = isos
        .context("NETROOTFS_BOOT_ISOS, the directory of the test ISOs, is not set: run scripts/boot-test")?;
    Ok(isos.into())
}

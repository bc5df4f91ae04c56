//! The output of `netrootfs dhcp`, checked by the DHCP servers that it is for.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The ways to ask: alone, beside another server, with HTTP.
const WAYS: [&[&str]; 3] = [&[], &["--proxy"], &["--http-url", "http://192.168.50.1/netboot"]];

#[test]
fn dnsmasq_takes_its_snippet() -> Result<()> {
    each("--dnsmasq", |file| Command::new("dnsmasq").arg("--test").arg(conf_file(file)).output())
}

#[test]
fn dhcpd_takes_its_snippet() -> Result<()> {
    each("--isc", |file| Command::new("dhcpd").args(["-t", "-cf"]).arg(file).output())
}

#[test]
fn kea_takes_its_snippet() -> Result<()> {
    each("--kea", |file| Command::new("kea-dhcp4").arg("-t").arg(file).output())
}

#[test]
fn a_dialect_must_be_named() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_netrootfs")).arg("dhcp").output()?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    Ok(())
}

fn each(dialect: &str, check: impl Fn(&Path) -> std::io::Result<std::process::Output>) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("snippet");
    for way in WAYS {
        let output = Command::new(env!("CARGO_BIN_EXE_netrootfs"))
            .args(["dhcp", dialect, "--server", "192.168.50.1", "--interface", "lo"])
            .args(["--mountpoint", &directory.path().to_string_lossy()])
            .args(way)
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        fs::create_dir_all(directory.path().join("tftp"))?;
        fs::write(&file, &output.stdout)?;
        let checked = check(&file).context("the server is not installed: run scripts/setup test")?;
        let said = String::from_utf8_lossy(&checked.stderr);
        ensure!(checked.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(())
}

fn conf_file(file: &Path) -> String {
    format!("--conf-file={}", file.display())
}

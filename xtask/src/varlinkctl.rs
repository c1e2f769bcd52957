//! `varlinkctl`: systemd's own client of Varlink, which the kernel tests hold the engine's interface against. systemd
//! has it since 255, and Debian 12 and Ubuntu 22.04 have an older one.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::{
    apt::Apt,
    shell::{find, output, root},
};

/// The suite that has it. It is a release, so the list below stays right.
const SUITE: &str = "trixie";

/// It, and all that it links to, C library included: this machine's may be older than it can bear.
const PACKAGES: [&str; 17] = [
    "libacl1",
    "libaudit1",
    "libblkid1",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcrypt1",
    "libmount1",
    "libpam0g",
    "libpcre2-8-0",
    "libseccomp2",
    "libselinux1",
    "libssl3t64",
    "libsystemd-shared",
    "libzstd1",
    "systemd",
    "zlib1g",
];

/// Runs it with the loader and the libraries that belong to it. It finds them beside itself, so that the directory can
/// be moved.
const WRAPPER: &str = r#"#!/bin/sh
usr=$(dirname "$0")/unpacked/usr
libraries=$usr/lib/x86_64-linux-gnu
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/systemd" "$usr/bin/varlinkctl" "$@"
"#;

/// Gives the system's own, or fetches one that touches nothing of the system.
///
/// # Errors
/// Where there is none and none can be had: the message says what it is for.
pub fn find_or_fetch() -> anyhow::Result<PathBuf> {
    if let Some(installed) = find("varlinkctl") {
        return Ok(installed);
    }
    fetch(&root().join("target/varlinkctl")).with_context(|| {
        format!(
            "the kernel tests need varlinkctl, which systemd has since 255, and it cannot be had from Debian {SUITE}"
        )
    })
}

/// Fetches it into `directory` unless it is there already.
fn fetch(directory: &Path) -> anyhow::Result<PathBuf> {
    let wrapper = directory.join("varlinkctl");
    // It is written last, when all else is there.
    if wrapper.exists() {
        return Ok(wrapper);
    }
    let unpacked = directory.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    fs::create_dir_all(&unpacked)?;
    // The lists are as large as the rest, and are not needed again.
    let lists = tempfile::tempdir()?;
    Apt::new(SUITE, lists.path())?.unpack(&PACKAGES, &unpacked)?;
    let untried = directory.join("untried");
    fs::write(&untried, WRAPPER)?;
    fs::set_permissions(&untried, fs::Permissions::from_mode(0o755))?;
    output(Command::new(&untried).arg("--version")).context("it does not run here")?;
    fs::rename(untried, &wrapper)?;
    Ok(wrapper)
}

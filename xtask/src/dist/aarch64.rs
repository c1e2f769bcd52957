//! Another processor: that the program compiles for it is all that can be told here.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::Context;

use super::has_target;
use crate::{
    apt::Apt,
    packages,
    shell::{cargo, output, root, run, without_toolchain},
};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Debian's compiler, which may be another one than ours, and its library.
const RUSTC: &str = "/usr/bin/rustc";
const COMPILER: &str = "rustc-web";
const LIBRARY: &str = "libstd-rust-web-dev";

/// Checks it, by our toolchain or by Debian's.
///
/// # Errors
/// Where it does not compile.
pub fn check() -> anyhow::Result<()> {
    let mut check = if has_target(TARGET) {
        cargo()
    } else if packages::available(COMPILER) {
        let libraries = root().join("target/aarch64");
        fetch(&libraries).context("Debian's library for aarch64")?;
        let mut cargo = cargo();
        without_toolchain(&mut cargo);
        let flags = format!("--sysroot={}", libraries.join("usr").display());
        cargo
            .env("RUSTC", RUSTC)
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
        cargo
    } else {
        println!("NOT CHECKED: there is no {TARGET} here");
        return Ok(());
    };
    check.args(["check", "--locked", "--quiet", "--package", "chadthrottle"]);
    run(check.args(["--target", TARGET]))
}

/// Unpacks the library that belongs to Debian's compiler into `directory`, unless it is there already.
fn fetch(directory: &Path) -> anyhow::Result<()> {
    packages::install(&[COMPILER])?;
    let show = ["--show", "--showformat=${Version}", COMPILER];
    let version = output(Command::new("dpkg-query").args(show)).context(COMPILER)?;
    let noted = directory.join("version");
    if fs::read_to_string(&noted).is_ok_and(|noted| noted == version) {
        return Ok(());
    }
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    let lists = tempfile::tempdir()?;
    let wanted = format!("{LIBRARY}={version}");
    Apt::of_system("arm64", lists.path())?.unpack(&[&wanted], directory)?;
    // The compiler looks for libraries below its root only, and macros are of this processor.
    let here = "x86_64-unknown-linux-gnu";
    let libraries = directory.join("usr/lib/rustlib");
    symlink(
        Path::new("/usr/lib/rustlib").join(here),
        libraries.join(here),
    )?;
    fs::write(noted, version)?;
    Ok(())
}

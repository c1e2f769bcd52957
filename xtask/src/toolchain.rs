//! A toolchain that can build for BPF: rustup's nightly, or Debian's rustc-web.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::{
    packages,
    shell::{find, output, run, without_toolchain},
};

/// Where Debian puts the library sources.
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust";

/// Version of the linker that belongs to these LLVMs.
const LINKER: [&str; 3] = ["bpf-linker", "--version", "0.13.0"];

/// What builds the kernel programs.
pub enum Toolchain {
    /// rustup's nightly with the component rust-src.
    Nightly {
        /// Its library sources.
        sources: PathBuf,
    },
    /// The packages rustc-web, cargo-web and rust-web-src.
    Debian,
}

impl Toolchain {
    /// The cargo that builds, with what makes it accept unstable flags.
    pub fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Nightly { .. } => {
                let mut command = Command::new("cargo");
                command.arg("+nightly");
                command
            }
            Self::Debian => Command::new("/usr/bin/cargo"),
        };
        without_toolchain(&mut command);
        if matches!(self, Self::Debian) {
            command
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", "/usr/bin/rustc");
        }
        command
    }

    /// Where its library sources are.
    pub fn sources(&self) -> &Path {
        match self {
            Self::Nightly { sources } => sources,
            Self::Debian => Path::new(DEBIAN_SOURCES),
        }
    }
}

/// Finds a toolchain and its linker, and installs on Debian and Ubuntu what is missing.
///
/// # Errors
/// Where neither can be had: the message says what to install.
pub fn find_or_install() -> anyhow::Result<Toolchain> {
    if let Some(toolchain) = nightly() {
        if find("bpf-linker").is_none() {
            let mut install = Command::new("cargo");
            without_toolchain(&mut install);
            run(install.arg("install").args(LINKER).arg("--locked"))?;
        }
        return Ok(toolchain);
    }
    if !has_debian_sources() {
        if !packages::available("rustc-web") {
            bail!(
                "there is no toolchain that builds for BPF. Install one: \
                 rustup toolchain install nightly --component rust-src && \
                 cargo install bpf-linker"
            );
        }
        packages::install(&["rustc-web", "cargo-web", "rust-web-src"])?;
    }
    if find("bpf-linker").is_none() {
        let llvm = debian_llvm()?;
        packages::install(&[&format!("llvm-{llvm}-dev")])?;
        let mut install = Command::new("cargo");
        without_toolchain(&mut install);
        install
            .arg("install")
            .args(LINKER)
            .args(["--locked", "--no-default-features"]);
        install.args(["--features", &format!("llvm-{llvm}")]);
        run(install.env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}")))?;
    }
    Ok(Toolchain::Debian)
}

fn nightly() -> Option<Toolchain> {
    let mut rustc = Command::new("rustc");
    without_toolchain(&mut rustc);
    let sysroot = output(rustc.args(["+nightly", "--print", "sysroot"]))?;
    let sources = Path::new(&sysroot).join("lib/rustlib/src/rust");
    sources
        .join("library/Cargo.lock")
        .is_file()
        .then_some(Toolchain::Nightly { sources })
}

fn has_debian_sources() -> bool {
    Path::new(DEBIAN_SOURCES)
        .join("library/Cargo.lock")
        .is_file()
        && Path::new("/usr/bin/rustc").is_file()
        && Path::new("/usr/bin/cargo").is_file()
}

/// The LLVM that Debian's rustc was built with: the linker has to read its bitcode.
fn debian_llvm() -> anyhow::Result<String> {
    let mut rustc = Command::new("/usr/bin/rustc");
    without_toolchain(&mut rustc);
    let version = output(rustc.arg("-vV")).context("/usr/bin/rustc does not run")?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .and_then(|version| version.split('.').next())
        .map(str::to_owned)
        .context("/usr/bin/rustc -vV names no LLVM version")
}

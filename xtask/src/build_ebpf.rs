//! `build-ebpf`: from source to the object that is committed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::{
    object_file,
    shell::{cargo_home, root, run},
    sources,
    toolchain::Toolchain,
};

pub const OBJECT: &str = "chadthrottle.bpf.o";
const HASHES: &str = "chadthrottle.bpf.sha256";

/// What the object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The one that is committed.
    Committed,
    /// Its programs write lines for the log.
    Log,
    /// Packets of `BPF_PROG_TEST_RUN` say whose they are, so that it can be measured.
    TestRun,
}

/// Where the committed object is.
pub fn committed() -> PathBuf {
    root().join("chadthrottle/ebpf")
}

/// The committed object itself.
pub fn committed_object() -> PathBuf {
    committed().join(OBJECT)
}

/// Builds the kernel programs and writes object and hashes to `directory`. Gives the object's
/// path.
pub fn build(toolchain: &Toolchain, directory: &Path, variant: Variant) -> anyhow::Result<PathBuf> {
    let object = compile(toolchain, &root(), variant)?;
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let path = directory.join(OBJECT);
    fs::write(&path, &object).with_context(|| path.display().to_string())?;
    let hashes = directory.join(HASHES);
    fs::write(&hashes, hashes_of(&object)?).with_context(|| hashes.display().to_string())?;
    Ok(path)
}

/// Builds the kernel programs in a copy of the sources too.
///
/// # Errors
/// Where the object from there is another one than `object`.
pub fn build_elsewhere(toolchain: &Toolchain, object: &Path) -> anyhow::Result<()> {
    let copy = root().join("target/ebpf-elsewhere");
    sources::copy(&copy)?;
    let elsewhere = compile(toolchain, &copy, Variant::Committed)?;
    let here = fs::read(object).with_context(|| object.display().to_string())?;
    if here != elsewhere {
        bail!("the same sources give another object in {}", copy.display());
    }
    Ok(())
}

/// Builds the kernel programs below `root`, and gives what is committed of them.
fn compile(toolchain: &Toolchain, root: &Path, variant: Variant) -> anyhow::Result<Vec<u8>> {
    let target = root.join("target/ebpf");
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(root)
        .args([
            "build",
            "--locked",
            "--profile",
            "ebpf",
            "--package",
            "chadthrottle-ebpf",
        ])
        .args(["--target", "bpfel-unknown-none", "-Zbuild-std=core"])
        .arg("--target-dir")
        .arg(&target)
        // Flags are separated by this character, so that paths may hold spaces.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags(toolchain, root).join("\u{1f}"),
        );
    match variant {
        Variant::Committed => {}
        Variant::Log => _ = cargo.args(["--features", "log"]),
        Variant::TestRun => _ = cargo.args(["--features", "test-run"]),
    }
    if let Some(home) = cargo_home() {
        // The linker is found in a shell's PATH only where rustup has put it there.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::env::split_paths(&path).chain([home.join("bin")]);
        cargo.env("PATH", std::env::join_paths(paths)?);
    }
    run(&mut cargo)?;

    let built = target.join("bpfel-unknown-none/ebpf/chadthrottle-ebpf");
    let object = fs::read(&built).with_context(|| built.display().to_string())?;
    let object = object_file::strip(&object)?;
    object_file::assert_without(&object, &traces(toolchain, root))?;
    Ok(object)
}

/// Whether the committed object belongs to the sources, and is the one that was built from them.
///
/// # Errors
/// Where it does not: the message says what to do.
pub fn check() -> anyhow::Result<()> {
    let path = committed_object();
    let object = fs::read(&path).with_context(|| path.display().to_string())?;
    let hashes = fs::read_to_string(committed().join(HASHES)).context(HASHES)?;
    let expected = hashes_of(&object)?;
    if hashes != expected {
        bail!(
            "the committed object does not belong to the sources: run 'cargo xtask build-ebpf' \
             and commit what it writes.\ncommitted:\n{hashes}now:\n{expected}"
        );
    }
    Ok(())
}

/// Whether an object is the committed one to the byte.
pub fn is_committed(object: &Path) -> anyhow::Result<bool> {
    let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
    Ok(read(object)? == read(&committed_object())?)
}

fn hashes_of(object: &[u8]) -> anyhow::Result<String> {
    let (sources, object) = (sources::hash(&root())?, sources::hash_bytes(object));
    Ok(format!("sources {sources}\nobject {object}\n"))
}

fn flags(toolchain: &Toolchain, root: &Path) -> Vec<String> {
    let mut flags: Vec<String> = ["-Clinker=bpf-linker", "-Cdebuginfo=2", "-Clink-arg=--btf"]
        .map(str::to_owned)
        .into();
    flags.push("-Dwarnings".to_owned());
    // Line information in the BTF names source files; later mappings win.
    let mut remap = |from: &Path, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    remap(root, "chadthrottle");
    remap(toolchain.sources(), "rust");
    if let Some(home) = cargo_home() {
        let registries = home.join("registry/src");
        // One directory a registry, named after its host.
        for registry in fs::read_dir(&registries).into_iter().flatten().flatten() {
            remap(&registry.path(), "registry");
        }
    }
    flags
}

/// What must not be in the object.
fn traces(toolchain: &Toolchain, root: &Path) -> Vec<String> {
    let mut traces = vec![
        root.display().to_string(),
        toolchain.sources().display().to_string(),
        "crates.io".to_owned(),
        "/root/".to_owned(),
        "/home/".to_owned(),
    ];
    traces.extend(std::env::home_dir().map(|home| home.display().to_string()));
    traces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_object_belongs_to_its_sources() {
        if let Err(error) = check() {
            panic!("{error}");
        }
    }

    /// It says "Dual MIT/GPL": helpers of the kernel are for programs that do.
    #[test]
    fn the_licences_that_the_object_names_are_there() {
        for (file, words) in [
            ("LICENSE", "MIT License"),
            (
                "chadthrottle-ebpf/LICENSE-GPL-2.0",
                "GNU GENERAL PUBLIC LICENSE",
            ),
        ] {
            let text = fs::read_to_string(root().join(file)).unwrap();
            assert!(text.contains(words), "{file}");
        }
    }
}

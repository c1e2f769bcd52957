//! The sources: the hash of what the object is built from, which tells whether object and sources belong together, and
//! copies of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::shell::root;

/// The crate that is built, and the one of ours that it depends on.
const CRATES: [&str; 2] = ["chadthrottle-ebpf", "chadthrottle-common"];

/// Hash of the sources below `root`, in hex: both crates with their manifests, the profile, and
/// of the lock file the packages that they reach, so that other dependencies may move freely.
pub fn hash(root: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut part = |name: &str, bytes: &[u8]| {
        // With lengths, so that nothing can move from one part into the next unseen.
        for field in [name.as_bytes(), bytes] {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
    };
    for name in CRATES {
        let manifest = Path::new(name).join("Cargo.toml");
        let mut files = vec![manifest];
        list(root, &Path::new(name).join("src"), &mut files)?;
        files.sort();
        for file in files {
            let bytes = fs::read(root.join(&file)).with_context(|| file.display().to_string())?;
            part(&file.to_string_lossy(), &bytes);
        }
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("Cargo.toml")?;
    part("profile", profile(&manifest)?.as_bytes());
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("Cargo.lock")?;
    part("lock", reached(&lock)?.as_bytes());
    Ok(hex(&hash.finalize()))
}

/// Copies the sources as they are, with what is not committed.
pub fn copy(to: &Path) -> anyhow::Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("git ls-files")?;
    let mut here = BTreeSet::new();
    for name in String::from_utf8(listed.stdout)?.lines() {
        let (from, to) = (root().join(name), to.join(name));
        let Ok(now) = fs::read(&from) else { continue };
        here.insert(PathBuf::from(name));
        // What is the same stays, so that it is not built again.
        if fs::read(&to).is_ok_and(|before| before == now) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a directory")?)?;
        fs::write(&to, now).with_context(|| to.display().to_string())?;
    }
    // A module that has moved would be there twice.
    for name in [
        "chadthrottle",
        "chadthrottle-common",
        "chadthrottle-ebpf",
        "xtask",
    ] {
        let mut there = Vec::new();
        list(to, Path::new(name), &mut there)?;
        for gone in there.iter().filter(|path| !here.contains(*path)) {
            fs::remove_file(to.join(gone)).with_context(|| gone.display().to_string())?;
        }
    }
    Ok(())
}

/// Hash of a file, in hex.
pub fn hash_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds all files below `directory`, as paths relative to `root`.
fn list(root: &Path, directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(root.join(directory)).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The profiles that the build uses: its own, and the one that it inherits from.
fn profile(manifest: &str) -> anyhow::Result<String> {
    let manifest: toml::Table = manifest.parse().context("Cargo.toml")?;
    let profiles = manifest.get("profile").and_then(toml::Value::as_table);
    let profiles = profiles.context("Cargo.toml has no profiles")?;
    Ok(format!(
        "{:?} {:?}",
        profiles.get("release"),
        profiles.get("ebpf")
    ))
}

/// Name, version and checksum of every package that the kernel programs depend on, a line each.
fn reached(lock: &str) -> anyhow::Result<String> {
    let lock: toml::Table = lock.parse().context("Cargo.lock")?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let packages = packages.context("Cargo.lock has no packages")?;
    let field = |package: &toml::Value, name: &str| {
        package
            .get(name)
            .and_then(toml::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut by_name: BTreeMap<String, Vec<&toml::Value>> = BTreeMap::new();
    for package in packages {
        by_name
            .entry(field(package, "name"))
            .or_default()
            .push(package);
    }
    let mut lines = BTreeSet::new();
    let mut todo: Vec<String> = CRATES.iter().map(|name| (*name).to_owned()).collect();
    while let Some(dependency) = todo.pop() {
        // "name", or "name version" where there are several.
        let (name, version) = dependency.split_once(' ').unwrap_or((&dependency, ""));
        let of_name = by_name
            .get(name)
            .with_context(|| format!("Cargo.lock lacks {name}"))?;
        for package in of_name {
            let found = field(package, "version");
            if !version.is_empty() && !version.starts_with(&found) {
                continue;
            }
            if lines.insert(format!("{name} {found} {}\n", field(package, "checksum"))) {
                let dependencies = package.get("dependencies").and_then(toml::Value::as_array);
                let names = dependencies
                    .into_iter()
                    .flatten()
                    .filter_map(toml::Value::as_str);
                todo.extend(names.map(str::to_owned));
            }
        }
    }
    Ok(lines.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
        [[package]]
        name = "chadthrottle-ebpf"
        version = "0.1.0"
        dependencies = ["chadthrottle-common", "aya-ebpf", "syn 2.0.1"]
        [[package]]
        name = "chadthrottle-common"
        version = "0.1.0"
        [[package]]
        name = "aya-ebpf"
        version = "0.2.1"
        checksum = "aa"
        [[package]]
        name = "syn"
        version = "2.0.1"
        checksum = "bb"
        [[package]]
        name = "syn"
        version = "1.0.9"
        checksum = "cc"
        [[package]]
        name = "ratatui"
        version = "0.30.2"
        checksum = "dd"
    "#;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in CRATES {
            fs::create_dir_all(root.path().join(name).join("src/deep")).unwrap();
            fs::write(root.path().join(name).join("Cargo.toml"), name).unwrap();
            fs::write(root.path().join(name).join("src/deep/a.rs"), "fn a() {}").unwrap();
        }
        let manifest = "[profile.release]\nlto = true\n[profile.ebpf]\ndebug = 2\n";
        fs::write(root.path().join("Cargo.toml"), manifest).unwrap();
        fs::write(root.path().join("Cargo.lock"), LOCK).unwrap();
        root
    }

    #[test]
    fn only_packages_that_are_reached_count_in_the_version_that_is_meant() {
        let lines = reached(LOCK).unwrap();
        assert_eq!(
            lines,
            "aya-ebpf 0.2.1 aa\nchadthrottle-common 0.1.0 \nchadthrottle-ebpf 0.1.0 \nsyn 2.0.1 bb\n"
        );
    }

    #[test]
    fn any_change_of_a_source_changes_the_hash_and_others_do_not() {
        let root = tree();
        let before = hash(root.path()).unwrap();
        let edit = |file: &str, from: &str, to: &str| {
            let path = root.path().join(file);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace(from, to)).unwrap();
            let changed = hash(root.path()).unwrap();
            fs::write(&path, text).unwrap();
            changed
        };
        assert_ne!(
            edit("chadthrottle-ebpf/src/deep/a.rs", "a()", "b()"),
            before
        );
        assert_ne!(
            edit("chadthrottle-common/Cargo.toml", "common", "c"),
            before
        );
        assert_ne!(edit("Cargo.toml", "debug = 2", "debug = 1"), before);
        assert_ne!(edit("Cargo.lock", "\"aa\"", "\"ab\""), before);
        assert_eq!(edit("Cargo.lock", "\"dd\"", "\"de\""), before);
        fs::write(root.path().join("chadthrottle-ebpf/src/new.rs"), "").unwrap();
        assert_ne!(hash(root.path()).unwrap(), before);
    }
}

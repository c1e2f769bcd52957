//! `dist --test`: the packages, installed, upgraded and removed on Debian, where systemd is the first process.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail};

use super::{deb, directory, machine::Machine, version};
use crate::{
    apt, packages,
    shell::{find, output, root, run},
    steps::Steps,
};

/// Debian 12 and 13.
const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// A tool, and the package that has it.
const TOOLS: [(&str, &str); 4] = [
    ("debootstrap", "debootstrap"),
    ("mke2fs", "e2fsprogs"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("rpm", "rpm"),
];

/// What the machine's script says at its end.
const PASSED: &str = "ALL PASSED";

/// Tries what is in target/dist.
pub fn test() -> anyhow::Result<()> {
    let mut steps = Steps::default();
    steps.step("tools", || {
        let missing: Vec<_> = TOOLS
            .iter()
            .filter(|(tool, _)| find(tool).is_none())
            .map(|(_, package)| *package)
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            packages::install(&missing)
        }
    })?;
    let payload = tempfile::tempdir()?;
    steps.step("what the machines get", || fill(payload.path()))?;
    steps.step(".rpm in a tree", || in_tree(&directory()))?;
    steps.step(".deb and install.sh on Debian", || {
        let archive = apt::archive()?;
        for suite in SUITES {
            println!("-- {suite}");
            let machine = Machine::of(suite, &root().join("target/machines"), &archive)?;
            let said = machine.run(payload.path())?;
            println!("{said}");
            if !said.contains(PASSED) {
                bail!("the packages do not do what they should on {suite}");
            }
        }
        Ok(())
    })?;
    steps.summary();
    Ok(())
}

/// The packages, one of an earlier version, and the script.
fn fill(payload: &Path) -> anyhow::Result<()> {
    let version = version()?;
    let new = directory().join(format!("chadthrottle_{version}-1_amd64.deb"));
    let archive = directory().join(format!("chadthrottle-{version}-x86_64-linux.tar.gz"));
    for (from, name) in [(&new, "new.deb"), (&archive, "archive.tar.gz")] {
        fs::copy(from, payload.join(name))
            .with_context(|| format!("{}: make it with 'cargo xtask dist'", from.display()))?;
    }
    // No version has been released before this one: the same program by an earlier name.
    let before = tempfile::tempdir()?;
    fs::copy(
        deb(before.path(), Some(&format!("{version}~before-1")))?,
        payload.join("old.deb"),
    )?;
    // What docs/service.md installs, where it is in the sources.
    let by_hand = payload.join("by-hand");
    for file in ["target/release", "docs"] {
        fs::create_dir_all(by_hand.join(file))?;
    }
    for file in ["target/release/chadthrottle", "docs/service.md"] {
        fs::copy(root().join(file), by_hand.join(file)).with_context(|| file.to_owned())?;
    }
    run(Command::new("cp")
        .arg("--recursive")
        .arg(root().join("packaging"))
        .arg(&by_hand))?;
    for file in ["test.sh", "traffic.py"] {
        fs::copy(root().join("xtask/src/dist").join(file), payload.join(file))?;
    }
    Ok(())
}

/// Installs and removes the .rpm below a directory. Its scripts want a system, so they do not run.
fn in_tree(dist: &Path) -> anyhow::Result<()> {
    let rpms = fs::read_dir(dist)?.filter_map(|entry| Some(entry.ok()?.path()));
    let rpm = rpms
        .into_iter()
        .find(|path| path.extension().is_some_and(|it| it == "rpm"));
    let rpm = rpm.context("there is no .rpm: make it with 'cargo xtask dist'")?;
    let tree = tempfile::tempdir()?;
    let command = || {
        let mut command = Command::new("rpm");
        command.arg("--root").arg(tree.path());
        command
    };
    run(command().arg("--initdb"))?;
    run(command()
        .args(["--install", "--nodeps", "--noscripts"])
        .arg(&rpm))?;
    let program = tree.path().join("usr/bin/chadthrottle");
    let said = output(Command::new(&program).arg("--version"))
        .context("the program of the .rpm does not run")?;
    if said != format!("chadthrottle {}", version()?) {
        bail!("the program of the .rpm says {said}");
    }
    run(command().args(["--erase", "--noscripts", "chadthrottle"]))?;
    let left = output(
        Command::new("find")
            .arg(tree.path().join("usr"))
            .args(["-type", "f"]),
    );
    match left.as_deref() {
        None | Some("") => Ok(()),
        Some(left) => bail!("the .rpm leaves behind:\n{left}"),
    }
}

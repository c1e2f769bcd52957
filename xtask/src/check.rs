//! `check`: what can be said of a change without root, in a minute.

use std::{path::PathBuf, process::Command};

use anyhow::bail;

use crate::{
    build_ebpf,
    shell::{cargo, find, root, run},
    steps::Steps,
};

/// Runs all steps and says how long each took.
pub fn check() -> anyhow::Result<()> {
    tools()?;
    let mut steps = Steps::default();
    self::steps(&mut steps)?;
    steps.step("documentation", documentation)?;
    steps.step("clippy", clippy)?;
    steps.summary();
    Ok(())
}

/// What cargo needs beside itself.
pub fn tools() -> anyhow::Result<()> {
    for component in ["cargo-fmt", "cargo-clippy"] {
        if find(component).is_none() {
            bail!("{component} is missing: rustup component add rustfmt clippy");
        }
    }
    Ok(())
}

/// What is compiled for the machine that it runs on: the kernel programs are not.
const PACKAGES: [&str; 3] = [
    "--package=chadthrottle",
    "--package=chadthrottle-common",
    "--package=xtask",
];

/// The steps but documentation and clippy, which the gate takes at its leisure.
pub fn steps(steps: &mut Steps) -> anyhow::Result<()> {
    steps.step("committed kernel programs", build_ebpf::check)?;
    steps.step("formatter", || {
        run(cargo().args(["fmt", "--all", "--check"]))
    })?;
    steps.step("unit tests", || {
        run(cargo().args(["test", "--locked", "--quiet"]).args(PACKAGES))
    })?;
    steps.step("Python of the kernel tests", compile_python)
}

/// That of the sources, for those who work on them: private items and links to them are a part of it.
pub fn documentation() -> anyhow::Result<()> {
    let document = ["doc", "--locked", "--quiet", "--no-deps"];
    let flags = "--deny warnings --allow rustdoc::private_intra_doc_links";
    run(cargo()
        .args(document)
        .arg("--document-private-items")
        .args(PACKAGES)
        .env("RUSTDOCFLAGS", flags))
}

/// What lints say, kernel tests included, which are in no default.
pub fn clippy() -> anyhow::Result<()> {
    let lint = ["clippy", "--locked", "--quiet"];
    let deny = ["--", "--deny", "warnings"];
    let all = PACKAGES.iter().chain(&["--all-targets"]);
    run(cargo().args(lint).args(all).args(deny))?;
    let kernel = ["--package=chadthrottle", "--test=kernel"];
    run(cargo().args(lint).args(kernel).args(deny))
}

/// Where all Python is.
pub fn python() -> PathBuf {
    root().join("chadthrottle/tests/kernel")
}

/// Compiles it, and leaves nothing of that behind.
fn compile_python() -> anyhow::Result<()> {
    let Some(python3) = find("python3") else {
        // `test` has it.
        println!("NOT COMPILED: there is no python3");
        return Ok(());
    };
    let compiled = tempfile::tempdir()?;
    let mut command = Command::new(python3);
    command.args(["-m", "compileall", "-q"]).arg(python());
    run(command.env("PYTHONPYCACHEPREFIX", compiled.path()))
}

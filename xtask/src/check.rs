//! `check`: what can be said of a change without root, in a minute.

use anyhow::bail;

use crate::{
    build_ebpf,
    shell::{cargo, find, run},
    steps::Steps,
};

/// Runs all steps and says how long each took.
pub fn check() -> anyhow::Result<()> {
    tools()?;
    let mut steps = Steps::default();
    self::steps(&mut steps)?;
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

/// The steps, as the gate takes them too.
pub fn steps(steps: &mut Steps) -> anyhow::Result<()> {
    steps.step("committed kernel programs", build_ebpf::check)?;
    steps.step("formatter", || {
        run(cargo().args(["fmt", "--all", "--check"]))
    })?;
    steps.step("clippy", || {
        // The kernel tests are in no default.
        for targets in [
            ["--workspace", "--all-targets"].as_slice(),
            &["--package=chadthrottle", "--test=kernel"],
        ] {
            let lint = ["clippy", "--locked", "--quiet"];
            let deny = ["--", "--deny", "warnings"];
            run(cargo().args(lint).args(targets).args(deny))?;
        }
        Ok(())
    })?;
    steps.step("unit tests", || {
        run(cargo().args(["test", "--locked", "--quiet", "--workspace"]))
    })?;
    steps.step("documentation", || {
        let document = ["doc", "--locked", "--quiet", "--no-deps"];
        run(cargo()
            .args(document)
            .env("RUSTDOCFLAGS", "--deny warnings"))
    })
}

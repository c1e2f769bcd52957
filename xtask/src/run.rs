//! `run`: the release binary, as root.

use std::{ffi::OsString, os::unix::process::CommandExt};

use anyhow::Context;

use crate::shell::{as_root, cargo, root, run as run_to_end};

/// Builds the release binary and becomes it.
pub fn run(arguments: &[OsString]) -> anyhow::Result<()> {
    run_to_end(cargo().args([
        "build",
        "--release",
        "--locked",
        "--package",
        "chadthrottle",
    ]))?;
    let binary = root().join("target/release/chadthrottle");
    let error = as_root(&binary)?.args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", binary.display()))
}

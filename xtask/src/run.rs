//! `run`: the release binary, as root.

use std::{ffi::OsString, os::unix::process::CommandExt};

use anyhow::Context;

use crate::shell::{as_root, build_release};

/// Builds the release binary and becomes it.
pub fn run(arguments: &[OsString]) -> anyhow::Result<()> {
    let binary = build_release()?;
    let error = as_root(&binary)?.args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", binary.display()))
}

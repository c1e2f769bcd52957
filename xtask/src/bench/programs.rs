//! What is measured, and the load: release builds, and debug builds where all that counts is whether something can be
//! done, since those are there already when the tests have run.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::shell::{cargo, root, run};

static DEBUG: AtomicBool = AtomicBool::new(false);

/// From here on all programs are debug builds.
pub fn take_debug_builds() {
    DEBUG.store(true, Relaxed);
}

/// Builds them.
pub fn build() -> anyhow::Result<()> {
    for which in [["--bin", "chadthrottle"], ["--example", "load"]] {
        let mut build = cargo();
        build.args(["build", "--locked", "--package", "chadthrottle"]);
        if !DEBUG.load(Relaxed) {
            build.arg("--release");
        }
        run(build.args(which))?;
    }
    Ok(())
}

/// The program that users run.
pub fn chadthrottle() -> PathBuf {
    directory().join("chadthrottle")
}

/// The program whose parts are the load.
pub fn load() -> PathBuf {
    directory().join("examples/load")
}

fn directory() -> PathBuf {
    let profile = if DEBUG.load(Relaxed) {
        "debug"
    } else {
        "release"
    };
    root().join("target").join(profile)
}

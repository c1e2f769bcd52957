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
    const PROGRAM: [&str; 2] = ["--bin", "chadthrottle"];
    const LOAD: [&str; 2] = ["--example", "load"];
    let build = || {
        let mut build = cargo();
        build.args(["build", "--locked", "--package", "chadthrottle"]);
        build
    };
    if DEBUG.load(Relaxed) {
        // Both at once, with what the tests depend on: alone, the program would be compiled anew without that.
        return run(build().args(PROGRAM).args(LOAD));
    }
    run(build().arg("--release").args(PROGRAM))?;
    run(build().arg("--release").args(LOAD))
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

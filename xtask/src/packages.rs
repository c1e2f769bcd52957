//! Packages of Debian and Ubuntu.

use std::process::Command;

use anyhow::bail;

use crate::shell::{as_root, find, is_root, output, run};

/// Whether packages can be installed here: there is apt, and a way to be root.
pub fn can_install() -> bool {
    find("apt-get").is_some() && (is_root() || find("sudo").is_some())
}

/// Whether the archive has the package. An empty or old list of packages is brought up to date.
pub fn available(package: &str) -> bool {
    let candidate = || {
        let policy = output(Command::new("apt-cache").args(["policy", package]))?;
        let line = policy
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        (line != "(none)").then_some(())
    };
    can_install() && (candidate().is_some() || (update().is_ok() && candidate().is_some()))
}

/// Installs packages without asking.
pub fn install(packages: &[&str]) -> anyhow::Result<()> {
    if !can_install() {
        bail!(
            "these packages are missing, and cannot be installed here: {}",
            packages.join(" ")
        );
    }
    let mut install = apt()?;
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages);
    // The list may be too old for what the archive has by now, or empty.
    if run(&mut install).is_err() {
        update()?;
        run(&mut install)?;
    }
    Ok(())
}

fn update() -> anyhow::Result<()> {
    run(apt()?.arg("update"))
}

fn apt() -> anyhow::Result<Command> {
    let mut command = as_root("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]);
    Ok(command)
}

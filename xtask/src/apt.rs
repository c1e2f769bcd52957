//! Packages of a Debian suite that need not be this machine's: taken apart, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::{
    packages,
    shell::{output, run},
};

/// What the archive is signed with, and the package that has it on Debian and Ubuntu.
const KEYRING_PACKAGE: &str = "debian-archive-keyring";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with lists of its own, of one suite.
pub struct Apt {
    options: Vec<String>,
    directory: PathBuf,
}

impl Apt {
    /// Fetches the lists into `directory`.
    pub fn new(suite: &str, directory: &Path) -> anyhow::Result<Self> {
        let archive = archive()?;
        fs::create_dir_all(directory)?;
        let sources = directory.join("sources.list");
        let source = format!("deb [signed-by={KEYRING}] {archive} {suite} main\n");
        fs::write(&sources, source)?;
        let more = vec![
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            // A suite may be old, and what it had stays as it is.
            "Acquire::Check-Valid-Until=false".to_owned(),
        ];
        Self::with(more, "amd64", directory)
    }

    /// Fetches lists of the suites that this machine has, for another processor.
    pub fn of_system(architecture: &str, directory: &Path) -> anyhow::Result<Self> {
        Self::with(Vec::new(), architecture, directory)
    }

    fn with(
        mut options: Vec<String>,
        architecture: &str,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        for below in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(below))?;
        }
        let option =
            |name: &str, below: &str| format!("{name}={}", directory.join(below).display());
        options.extend([
            option("Dir::State::lists", "lists"),
            option("Dir::Cache", "cache"),
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures={architecture}"),
            // As whoever runs us, who owns the directory.
            "APT::Sandbox::User=root".to_owned(),
        ]);
        let apt = Self {
            options,
            directory: directory.to_owned(),
        };
        run(apt
            .command("apt-get")
            .args(["--quiet", "--quiet", "update"]))?;
        Ok(apt)
    }

    /// Names of the packages whose names match.
    pub fn names(&self, pattern: &str) -> Vec<String> {
        let mut search = self.command("apt-cache");
        let found = output(search.args(["search", "--names-only", pattern])).unwrap_or_default();
        found
            .lines()
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect()
    }

    /// Downloads these packages, and unpacks them into one directory. Their scripts do not run.
    pub fn unpack(&self, packages: &[&str], into: &Path) -> anyhow::Result<()> {
        let downloaded = self.directory.join("downloaded");
        // What an earlier download that was stopped has left would be unpacked too.
        if downloaded.exists() {
            fs::remove_dir_all(&downloaded)?;
        }
        fs::create_dir(&downloaded)?;
        run(self
            .command("apt-get")
            .args(["--quiet", "--quiet", "download"])
            .args(packages)
            .current_dir(&downloaded))?;
        let mut archives = 0;
        for entry in fs::read_dir(&downloaded)? {
            run(Command::new("dpkg-deb")
                .arg("--extract")
                .arg(entry?.path())
                .arg(into))?;
            archives += 1;
        }
        fs::remove_dir_all(downloaded)?;
        if archives < packages.len() {
            bail!(
                "apt has downloaded {archives} packages of {}",
                packages.len()
            );
        }
        Ok(())
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        for option in &self.options {
            command.args(["--option", option]);
        }
        command
    }
}

/// Where to get Debian's packages from: where this machine does. The keyring is there then, by which apt and debootstrap
/// tell whether they are Debian's.
///
/// # Errors
/// Where there is no apt, it knows no Debian archive, or the keyring is missing and cannot be installed.
pub fn archive() -> anyhow::Result<String> {
    let format = "$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI)";
    let targets = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))
    .context("apt-get indextargets")?;
    if !Path::new(KEYRING).exists() {
        packages::install(&[KEYRING_PACKAGE])?;
    }
    // debootstrap would go on without, and check nothing.
    if !Path::new(KEYRING).exists() {
        bail!("{KEYRING_PACKAGE} has no {KEYRING}");
    }
    let archive = archive_of(&targets).context("this machine's apt knows no Debian archive")?;
    Ok(archive.to_owned())
}

/// Debian's archive among what apt is told to use, where each line has origin, component, release and address.
fn archive_of(targets: &str) -> Option<&str> {
    targets.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let is_main = fields.next() == Some("Debian") && fields.next() == Some("main");
        let release = fields.next()?;
        (is_main && !release.contains("security")).then(|| fields.next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_the_one_of_debian_that_this_machine_has() {
        let debian = "Other main trixie http://a/\n\
                      Debian main trixie-security http://b/\n\
                      Debian contrib trixie http://c/\n\
                      Debian main trixie http://d/\n";
        assert_eq!(archive_of(debian), Some("http://d/"));
    }

    #[test]
    fn ubuntu_has_none() {
        let ubuntu = "Ubuntu main noble http://a/\nUbuntu universe noble-security http://b/\n";
        assert_eq!(archive_of(ubuntu), None);
        assert_eq!(archive_of(""), None);
    }
}

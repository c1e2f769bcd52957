//! A kernel from Debian's archive, whose address is the one that this machine's apt has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::shell::{output, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The kernel's image, fetched into `directory` unless it is there already.
pub fn fetch(release: &str, suite: &str, directory: &Path) -> anyhow::Result<PathBuf> {
    let unpacked = directory.join("unpacked");
    if let Some(image) = image_in(&unpacked) {
        return Ok(image);
    }
    fs::create_dir_all(directory)?;
    let apt = Apt::new(suite, directory)?;
    run(apt
        .command("apt-get")
        .args(["--quiet", "--quiet", "update"]))?;
    let package = apt.newest(release)?;
    println!("   {package} from {suite}");
    run(apt
        .command("apt-get")
        .args(["--quiet", "--quiet", "download", &package])
        .current_dir(directory))?;
    let archive = fs::read_dir(directory)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt has downloaded nothing")?;
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(&archive)
        .arg(&unpacked))?;
    fs::remove_file(archive)?;
    image_in(&unpacked).with_context(|| format!("{package} holds no kernel"))
}

fn image_in(unpacked: &Path) -> Option<PathBuf> {
    let files = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    // linux-binary-… has it beside its modules.
    let beside_modules = files(&unpacked.join("usr/lib/modules"))
        .into_iter()
        .map(|modules| modules.join("vmlinuz"));
    files(&unpacked.join("boot"))
        .into_iter()
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        })
        .chain(beside_modules)
        .find(|path| path.is_file())
}

/// apt with lists of its own, of one suite.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(suite: &str, directory: &Path) -> anyhow::Result<Self> {
        let archive = archive()?;
        let signed = if Path::new(KEYRING).exists() {
            format!("[signed-by={KEYRING}] ")
        } else {
            String::new()
        };
        let sources = directory.join("sources.list");
        fs::write(&sources, format!("deb {signed}{archive} {suite} main\n"))?;
        for below in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(below))?;
        }
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        Ok(Self {
            options: vec![
                option("Dir::Etc::sourcelist", &sources),
                "Dir::Etc::sourceparts=-".to_owned(),
                option("Dir::State::lists", &directory.join("lists")),
                option("Dir::Cache", &directory.join("cache")),
                // The suite is old, and what it had stays as it is.
                "Acquire::Check-Valid-Until=false".to_owned(),
                "APT::Architecture=amd64".to_owned(),
                // As whoever runs us, who owns the directory.
                "APT::Sandbox::User=root".to_owned(),
            ],
        })
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        for option in &self.options {
            command.args(["--option", option]);
        }
        command
    }

    /// The newest kernel of that release that Debian builds for virtual machines.
    fn newest(&self, release: &str) -> anyhow::Result<String> {
        let pattern = pattern(release);
        let found = output(
            self.command("apt-cache")
                .args(["search", "--names-only", &pattern]),
        )
        .unwrap_or_default();
        best(found.lines().filter_map(|line| line.split(' ').next()))
            .map(str::to_owned)
            .with_context(|| format!("the archive has no {pattern}"))
    }
}

/// What packages of a release are called: linux-image-5.10.0-32-cloud-amd64,
/// linux-image-6.12.107+deb13-cloud-amd64. From 7.0 on the kernel is in linux-binary-…, and what is
/// called linux-image-… only names it.
fn pattern(release: &str) -> String {
    let release = match release {
        super::NEWEST => "[0-9]+[.][0-9]+".to_owned(),
        release => release.replace('.', "[.]"),
    };
    format!("^linux-(image|binary)-{release}[.][0-9a-z.+-]*-cloud-amd64$")
}

/// The package of the latest build, and the one of its two that holds the kernel.
fn best<'a>(packages: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    packages.max_by_key(|package| (build_number(package), package.starts_with("linux-binary-")))
}

/// All numbers of a package's name, in order: a later build has higher ones.
fn build_number(package: &str) -> Vec<u32> {
    package
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Where this machine gets Debian's packages from.
fn archive() -> anyhow::Result<String> {
    let format = "$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI)";
    let targets = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))
    .context("apt-get indextargets")?;
    let archive = targets.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let is_main = fields.next() == Some("Debian") && fields.next() == Some("main");
        let release = fields.next()?;
        (is_main && !release.contains("security")).then(|| fields.next())?
    });
    match archive {
        Some(archive) => Ok(archive.to_owned()),
        None => bail!("this machine's apt knows no Debian archive to take kernels from"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_build_is_newer_whatever_its_number_of_digits() {
        let packages = [
            "linux-image-5.10.0-32-cloud-amd64",
            "linux-image-5.10.0-9-cloud-amd64",
        ];
        assert_eq!(best(packages.into_iter()), Some(packages[0]));
    }

    #[test]
    fn the_package_with_the_kernel_is_preferred() {
        let packages = [
            "linux-binary-7.2.13+deb14-cloud-amd64",
            "linux-image-7.2.13+deb14-cloud-amd64",
            "linux-image-7.2.9+deb14-cloud-amd64",
        ];
        assert_eq!(best(packages.into_iter()), Some(packages[0]));
    }
}

//! A kernel from Debian's archive, whose address is the one that this machine's apt has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::apt::Apt;

/// The kernel's image, fetched into `directory` unless it is there already.
pub fn fetch(release: &str, suite: &str, directory: &Path) -> anyhow::Result<PathBuf> {
    let unpacked = directory.join("unpacked");
    if let Some(image) = image_in(&unpacked) {
        return Ok(image);
    }
    let apt = Apt::new(suite, directory)?;
    let package = newest(&apt, release)?;
    println!("   {package} from {suite}");
    apt.unpack(&[&package], &unpacked)?;
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

/// The newest kernel of that release that Debian builds for virtual machines.
fn newest(apt: &Apt, release: &str) -> anyhow::Result<String> {
    let pattern = pattern(release);
    let names = apt.names(&pattern);
    best(names.iter().map(String::as_str))
        .map(str::to_owned)
        .with_context(|| format!("the archive has no {pattern}"))
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

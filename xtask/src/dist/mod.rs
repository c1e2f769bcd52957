//! `dist`: packages of all kinds, made of one tree, in target/dist.

mod aarch64;
mod bill;
mod machine;
mod tried;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use object::{
    Endianness,
    elf::PT_INTERP,
    read::elf::{ElfFile64, ProgramHeader},
};

use crate::{
    build_ebpf,
    shell::{cargo, cargo_home, find, output, root, run, without_toolchain},
    sources,
    steps::Steps,
};
pub use tried::test;

/// Tools of cargo that make packages, by their versions.
const TOOLS: [(&str, &str); 2] = [("cargo-deb", "3.8.0"), ("cargo-generate-rpm", "0.21.1")];

/// What a static program is built for: with musl, which asks neither LDAP nor other directories for names of users, or
/// else with glibc, which asks them by libraries of the machine that it runs on.
const STATIC: [&str; 2] = ["x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu"];

/// Makes all packages.
pub fn dist() -> anyhow::Result<()> {
    let mut steps = Steps::default();
    steps.step("committed kernel programs", build_ebpf::check)?;
    steps.step("cargo-deb and cargo-generate-rpm", tools)?;
    let into = directory();
    if into.exists() {
        remove(&into)?;
    }
    fs::create_dir_all(&into)?;
    let program = steps.step("program", || build(None))?;
    steps.step("tree", || stage(&program))?;
    steps.step(".deb", || deb(&into, None).map(|_| ()))?;
    steps.step(".rpm", || rpm(&into))?;
    steps.step("archive with a static program", || archive(&into))?;
    steps.step("archive of sources", || archive_of_sources(&into))?;
    steps.step("bill of materials", || bill::write(&into))?;
    steps.step("cargo package", package)?;
    steps.step("aarch64", aarch64::check)?;
    steps.step("SHA256SUMS", || sums(&into))?;
    steps.summary();
    Ok(())
}

fn directory() -> PathBuf {
    root().join("target/dist")
}

/// The one version, as Cargo.toml has it.
fn version() -> anyhow::Result<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let manifest: toml::Table = manifest.parse()?;
    let package = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("package"));
    let version = package.and_then(|package| package.get("version")?.as_str());
    version
        .map(str::to_owned)
        .context("Cargo.toml names no version")
}

/// The commit that is built; one that has been changed since says so.
fn commit() -> Option<String> {
    let describe = [
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty",
        "--exclude=*",
    ];
    output(Command::new("git").current_dir(root()).args(describe))
}

/// Installs the tools that are missing, in the version that this was tried with.
fn tools() -> anyhow::Result<()> {
    for (tool, version) in TOOLS {
        if find(tool).is_none() {
            let mut install = Command::new("cargo");
            without_toolchain(&mut install);
            run(install.args(["install", "--locked", tool, "--version", version]))?;
        }
    }
    Ok(())
}

/// A subcommand of cargo that [`tools`] has installed, which may be where no PATH leads.
fn subcommand(name: &str) -> anyhow::Result<Command> {
    let mut command = cargo();
    if let Some(home) = cargo_home() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::env::split_paths(&path).chain([home.join("bin")]);
        command.env("PATH", std::env::join_paths(paths)?);
    }
    command.arg(name);
    Ok(command)
}

/// Builds the release program, which knows its commit, and gives its place. With a target it is static.
fn build(target: Option<&str>) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "chadthrottle",
    ]);
    if let Some(commit) = commit() {
        build.env("CHADTHROTTLE_COMMIT", commit);
    }
    let mut directory = root().join("target");
    if let Some(target) = target {
        build.args(["--target", target]);
        let flags = format!(
            "CARGO_TARGET_{}_RUSTFLAGS",
            target.replace('-', "_").to_uppercase()
        );
        build.env(flags, "-C target-feature=+crt-static");
        directory.push(target);
    }
    run(&mut build)?;
    Ok(directory.join("release/chadthrottle"))
}

/// Whether the toolchain that runs us can build for that target; rustup is asked to add it where it cannot.
fn has_target(target: &str) -> bool {
    let installed = || {
        let library =
            output(Command::new("rustc").args(["--print", "target-libdir", "--target", target]));
        library.is_some_and(|library| Path::new(&library).is_dir())
    };
    installed()
        || (find("rustup").is_some()
            && run(Command::new("rustup").args(["target", "add", target])).is_ok()
            && installed())
}

/// Lays out what packages have.
fn stage(program: &Path) -> anyhow::Result<()> {
    let tree = root().join("target/stage");
    if tree.exists() {
        remove(&tree)?;
    }
    run(Command::new(root().join("packaging/stage.sh"))
        .arg(program)
        .arg(tree))
}

/// The Debian package of the staged tree; of another version than it has, for tests of an upgrade.
fn deb(into: &Path, version: Option<&str>) -> anyhow::Result<PathBuf> {
    let mut deb = subcommand("deb")?;
    deb.args([
        "--package",
        "chadthrottle",
        "--no-build",
        "--quiet",
        "--locked",
        "--output",
    ]);
    let version = match version {
        Some(version) => version.to_owned(),
        None => format!("{}-1", self::version()?),
    };
    let path = into.join(format!("chadthrottle_{version}_amd64.deb"));
    run(deb.arg(&path).args(["--deb-version", &version]))?;
    Ok(path)
}

fn rpm(into: &Path) -> anyhow::Result<()> {
    let mut rpm = subcommand("generate-rpm")?;
    run(rpm
        .args(["--package", "chadthrottle", "--output"])
        .arg(into))
}

/// An archive for every system: a static program, and install.sh.
fn archive(into: &Path) -> anyhow::Result<()> {
    let [musl, glibc] = STATIC;
    let target = if has_target(musl) { musl } else { glibc };
    println!("the static program is built for {target}");
    let program = build(Some(target))?;
    assert_static(&program)?;
    let name = format!("chadthrottle-{}-x86_64-linux", version()?);
    let work = tempfile::tempdir()?;
    let tree = work.path().join(&name);
    run(Command::new(root().join("packaging/stage.sh"))
        .arg(&program)
        .arg(tree.join("files")))?;
    for file in ["packaging/install.sh", "README.md", "LICENSE"] {
        let from = root().join(file);
        let name = from.file_name().context("its name")?;
        fs::copy(&from, tree.join(name)).with_context(|| from.display().to_string())?;
    }
    let path = into.join(format!("{name}.tar.gz"));
    // Whoever makes it, and whenever: the same files give the same archive.
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
    ]);
    tar.args(["--use-compress-program", "gzip -n9", "--file"])
        .arg(path);
    run(tar.arg("--directory").arg(work.path()).arg(&name))
}

/// Fails where a program asks for a loader.
fn assert_static(program: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(program).with_context(|| program.display().to_string())?;
    let file = ElfFile64::<Endianness>::parse(&*bytes)?;
    let endian = file.endian();
    let headers = file.elf_program_headers();
    if headers.iter().any(|it| it.p_type(endian) == PT_INTERP) {
        bail!("{} is not static", program.display());
    }
    Ok(())
}

fn archive_of_sources(into: &Path) -> anyhow::Result<()> {
    let name = format!("chadthrottle-{}", version()?);
    let prefix = format!("--prefix={name}/");
    let path = into.join(format!("{name}-source.tar.gz"));
    let mut archive = Command::new("git");
    archive
        .current_dir(root())
        .args(["archive", &prefix, "--format=tar.gz", "--output"]);
    run(archive.arg(path).arg("HEAD"))
}

/// Whether what a registry would get has all that it needs. The kernel programs compile for BPF only, which cargo
/// cannot be told here, so theirs is packed and not compiled.
fn package() -> anyhow::Result<()> {
    let target = root().join("target/packing");
    forget_neighbours(&target)?;
    let package = || {
        let mut package = cargo();
        package.args(["package", "--locked", "--allow-dirty", "--quiet"]);
        package.arg("--target-dir").arg(&target);
        package
    };
    run(package().args(["--package=chadthrottle", "--package=chadthrottle-common"]))?;
    run(package().args([
        "--no-verify",
        "--package=chadthrottle-ebpf",
        "--package=chadthrottle-common",
    ]))
}

/// Cargo builds a package with its neighbours as if they were published, from a registry below the target directory. What
/// it has once unpacked and compiled of that it takes again where path and version are the same, whatever has changed since.
fn forget_neighbours(target: &Path) -> anyhow::Result<()> {
    let sources = cargo_home().context("no home directory")?;
    // Those of a host begin with its name.
    for registry in entries(&sources.join("registry/src"), "-")? {
        for unpacked in entries(&registry, "chadthrottle-common-")? {
            remove(&unpacked)?;
        }
    }
    for compiled in entries(&target.join("debug/.fingerprint"), "chadthrottle-")? {
        remove(&compiled)?;
    }
    Ok(())
}

/// What is in a directory and has a name with that beginning; nothing where there is no such directory.
fn entries(directory: &Path, beginning: &str) -> anyhow::Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(Vec::new());
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(beginning.as_bytes())
        {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

fn remove(directory: &Path) -> anyhow::Result<()> {
    fs::remove_dir_all(directory).with_context(|| format!("removing {}", directory.display()))
}

/// The hash of each file, as sha256sum(1) reads them.
fn sums(into: &Path) -> anyhow::Result<()> {
    let mut files: Vec<_> = fs::read_dir(into)?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    files.sort();
    let mut lines = String::new();
    for file in files {
        let name = file
            .file_name()
            .context("its name")?
            .to_string_lossy()
            .into_owned();
        let hash = sources::hash_bytes(&fs::read(&file)?);
        lines += &format!("{hash}  {name}\n");
    }
    if lines.lines().count() < 5 {
        bail!("too few packages:\n{lines}");
    }
    fs::write(into.join("SHA256SUMS"), &lines)?;
    print!("{lines}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cargo and makepkg each want it in a file of theirs.
    #[test]
    fn there_is_one_version() {
        let version = version().unwrap();
        for (file, line) in [
            (
                "Cargo.toml",
                format!("path = \"chadthrottle-common\", version = \"{version}\""),
            ),
            ("packaging/arch/PKGBUILD", format!("pkgver={version}\n")),
            ("CHANGELOG.md", format!("## {version}\n")),
        ] {
            let text = fs::read_to_string(root().join(file)).unwrap();
            assert!(text.contains(&line), "{file} has not {line}");
        }
    }
}

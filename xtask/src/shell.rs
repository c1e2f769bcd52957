//! Running other programs.

use std::{
    fs::File,
    io::{Read, Seek},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context, bail};

/// The workspace's directory.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Runs the command to its end; anything but success is an error that names it.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("starting {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// A program that runs beside others, and keeps to itself what it says until it has ended.
pub struct Aside {
    child: Child,
    said: File,
}

impl Aside {
    /// Starts it.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let shown = show(command);
        let said = tempfile::tempfile()?;
        let child = command
            .stdout(said.try_clone()?)
            .stderr(said.try_clone()?)
            .spawn()
            .with_context(|| format!("starting {shown}"))?;
        Ok(Self { child, said })
    }

    /// Waits for its end; gives how that was, and what it has said.
    pub fn end(mut self) -> anyhow::Result<(ExitStatus, String)> {
        let status = self.child.wait()?;
        let mut said = Vec::new();
        self.said.rewind()?;
        self.said.read_to_end(&mut said)?;
        Ok((status, String::from_utf8_lossy(&said).into_owned()))
    }
}

impl Aside {
    /// Waits for its end, and prints what it has said.
    ///
    /// # Errors
    /// Where it has failed.
    pub fn succeed(self) -> anyhow::Result<()> {
        let (status, said) = self.end()?;
        println!("{said}");
        if !status.success() {
            bail!("{status}");
        }
        Ok(())
    }
}

/// Something else has failed: it ends on its own, and tidies up.
impl Drop for Aside {
    fn drop(&mut self) {
        let _ = self.child.wait();
    }
}

/// What the command prints, where it succeeds.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where a program is, searched as a shell does and in cargo's own bin directory.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(cargo_home().map(|home| home.join("bin")))
        .chain(sbin)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Cargo's directory for what it downloads and installs.
pub fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds the release binary, and gives its place.
pub fn build_release() -> anyhow::Result<PathBuf> {
    let package = ["--release", "--locked", "--package", "chadthrottle"];
    run(cargo().arg("build").args(package))?;
    Ok(root().join("target/release/chadthrottle"))
}

/// Where [`build_for_other_objects`] builds: apart from what users run.
const FOR_OTHER_OBJECTS: &str = "target/other-object";

/// Builds a release binary that loads the object that CHADTHROTTLE_EBPF_OBJECT names.
pub fn build_for_other_objects() -> anyhow::Result<()> {
    let package = ["--release", "--locked", "--package", "chadthrottle"];
    let mut build = cargo();
    build.arg("build").args(package);
    build.args(["--features", "other-object", "--target-dir"]);
    run(build.arg(root().join(FOR_OTHER_OBJECTS)))
}

/// That binary.
pub fn program_for_other_objects() -> PathBuf {
    root().join(FOR_OTHER_OBJECTS).join("release/chadthrottle")
}

/// Takes away what the cargo and rustup that run us have set for us, and which would steer
/// another toolchain. Settings of registries and proxies stay.
pub fn without_toolchain(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let steers = text == "CARGO"
            || text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text.starts_with("CARGO_PROFILE_")
            || text.starts_with("CARGO_BUILD_")
            || text.starts_with("RUSTUP_TOOLCHAIN")
            || text.starts_with("RUSTC")
            || text.ends_with("RUSTFLAGS")
            || text == "LD_LIBRARY_PATH";
        if steers {
            command.env_remove(&name);
        }
    }
}

/// Whether we are root.
pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).as_deref() == Some("0")
}

/// A command as root: itself, or through sudo.
pub fn as_root(program: impl AsRef<std::ffi::OsStr>) -> anyhow::Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let Some(sudo) = find("sudo") else {
        bail!(
            "{} has to run as root, and there is no sudo: run this as root",
            program.as_ref().display()
        );
    };
    let mut command = Command::new(sudo);
    command.arg("--").arg(program);
    Ok(command)
}

fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

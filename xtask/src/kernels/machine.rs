//! A virtual machine: a kernel, a file system in memory, and its console.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::shell::{find, run};

/// Boots the kernel, lets it run `init.sh` with the programs, and gives what it said.
pub fn boot(
    kernel: &Path,
    programs: &[PathBuf],
    directory: &Path,
    patience: Duration,
) -> anyhow::Result<String> {
    let files = file_system(programs, directory)?;
    let mut child = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg,thread=multi", "-cpu", "max"])
        .args(["-smp", "2", "-m", "768", "-no-reboot", "-nographic"])
        .args(["-nic", "none", "-append", "console=ttyS0 panic=-1 quiet"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(&files)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("qemu-system-x86_64")?;
    let mut console = child.stdout.take().context("its console")?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = console.read(&mut buffer) {
            if sender.send(buffer[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + patience;
    let mut said = Vec::new();
    let ended = loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(more) => said.extend(more),
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    if !ended {
        child.kill()?;
    }
    child.wait()?;
    let said = String::from_utf8_lossy(&said).into_owned();
    if !ended {
        bail!("the machine did not end within {patience:?}; it said:\n{said}");
    }
    Ok(said)
}

/// The file system that the kernel unpacks into memory.
fn file_system(programs: &[PathBuf], directory: &Path) -> anyhow::Result<PathBuf> {
    let tree = directory.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for below in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(tree.join(below))?;
    }
    let busybox = find("busybox").context("busybox")?;
    for program in programs.iter().chain([&busybox]) {
        let name = program.file_name().context("a program's name")?;
        fs::copy(program, tree.join("bin").join(name))
            .with_context(|| format!("copying {}", program.display()))?;
    }
    let init = tree.join("init");
    fs::copy(super::init(), &init)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let archive = directory.join("files.gz");
    let pack = "find . | cpio --quiet --create --format=newc | gzip -1 > \"$0\"";
    run(Command::new("sh")
        .args(["-c", pack])
        .arg(&archive)
        .current_dir(&tree))?;
    Ok(archive)
}

//! A virtual machine with a whole Debian, whose first process is systemd.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::shell::{as_root, run};

/// What it needs beside a minimal system: a kernel that boots, and what the test asks. libnss-systemd is a directory of
/// users for which the C library of a static program loads one of the machine's libraries.
const PACKAGES: &str = "systemd-sysv,linux-image-cloud-amd64,initramfs-tools,python3-minimal,bpftool,dbus,libnss-systemd";

/// It runs what the second disk holds, says what that says on the console, and ends.
const UNIT: &str = "[Unit]
Description=Test of packages
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
ExecStart=/bin/sh -c 'mkdir /root/payload && tar -x -f /dev/vdb -C /root/payload && sh /root/payload/test.sh'
ExecStopPost=/bin/systemctl --force --force poweroff
[Install]
WantedBy=multi-user.target
";

/// Emulated, as `kernels` has it, since not every machine can virtualise: it takes minutes.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// The disk of a Debian suite, with its kernel beside it.
pub struct Machine {
    directory: PathBuf,
}

impl Machine {
    /// Makes the disk, unless it is there already.
    pub fn of(suite: &str, directory: &Path, archive: &str) -> anyhow::Result<Self> {
        let directory = directory.join(suite);
        let machine = Self {
            directory: directory.clone(),
        };
        if machine.disk().exists() {
            return Ok(machine);
        }
        if directory.exists() {
            run(as_root("rm")?.arg("-rf").arg(&directory))?;
        }
        fs::create_dir_all(&directory)?;
        let tree = directory.join("tree");
        let mut debootstrap = as_root("debootstrap")?;
        debootstrap.args(["--variant=minbase", &format!("--include={PACKAGES}"), suite]);
        run(debootstrap.arg(&tree).arg(archive))?;
        let unit = directory.join("test.service");
        fs::write(&unit, UNIT)?;
        // Its disk is a file, and its boot needs no more of the kernel and of the initial system than these.
        const FINISH: &str = r#"
            cp "$2" "$1/etc/systemd/system/package-test.service" &&
            ln -s ../package-test.service "$1/etc/systemd/system/multi-user.target.wants/" &&
            cp -L "$1"/boot/vmlinuz-* "$3/kernel" && cp -L "$1"/boot/initrd.img-* "$3/initial" &&
            truncate -s 2G "$3/untried" && mke2fs -q -t ext4 -d "$1" "$3/untried" &&
            chmod a+r "$3/kernel" "$3/initial" "$3/untried" && rm -rf "$1" && mv "$3/untried" "$3/disk""#;
        let mut finish = as_root("sh")?;
        finish
            .args(["-e", "-c", FINISH, "sh"])
            .args([&tree, &unit, &directory]);
        run(&mut finish)?;
        Ok(machine)
    }

    fn disk(&self) -> PathBuf {
        self.directory.join("disk")
    }

    /// Boots it with what the directory holds, and gives what `test.sh` in it has said. The disk stays as it was.
    pub fn run(&self, payload: &Path) -> anyhow::Result<String> {
        let archive = self.directory.join("payload.tar");
        run(Command::new("tar")
            .args(["--create", "--file"])
            .arg(&archive)
            .arg("--directory")
            .arg(payload)
            .arg("."))?;
        let drive =
            |file: &Path, more: &str| format!("file={},format=raw,if=virtio{more}", file.display());
        let console = self.directory.join("console.log");
        let log = fs::File::create(&console)?;
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=multi", "-cpu", "max"])
            .args([
                "-smp",
                "2",
                "-m",
                "1024",
                "-no-reboot",
                "-nographic",
                "-nic",
                "none",
            ])
            .args([
                "-append",
                "root=/dev/vda rw console=ttyS0 panic=-1 quiet systemd.show_status=0 systemd.mask=serial-getty@ttyS0.service",
            ])
            .arg("-kernel")
            .arg(self.directory.join("kernel"))
            .arg("-initrd")
            .arg(self.directory.join("initial"))
            .args(["-drive", &drive(&self.disk(), ",snapshot=on")])
            .args(["-drive", &drive(&archive, ",readonly=on")])
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
            .context("qemu-system-x86_64")?;
        let deadline = Instant::now() + PATIENCE;
        let ended = loop {
            if child.try_wait()?.is_some() {
                break true;
            }
            if Instant::now() > deadline {
                break false;
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        if !ended {
            child.kill()?;
            child.wait()?;
        }
        let said = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
        if !ended {
            bail!("the machine did not end within {PATIENCE:?}; it said:\n{said}");
        }
        Ok(said)
    }
}

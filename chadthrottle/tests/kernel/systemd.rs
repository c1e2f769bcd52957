//! A systemd for one test: the manager of a user, which is root here, with the units that are packaged. It sandboxes
//! services as that of the system does, and needs no machine of its own.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use crate::{
    audit::{Cgroup, cgroup2, there},
    program::{Chadthrottle, Running, eventually, lives},
};

const SERVICE: &str = include_str!("../../../packaging/systemd/chadthrottle.service");
const SOCKET: &str = include_str!("../../../packaging/systemd/chadthrottle.socket");

/// Starts it with mounts of its own: it takes no machine for one of its kind without /run/systemd/system, the program
/// is where no home and no /tmp is hidden from it, and the system's configuration is the test's.
const START: &str = r#"
    program=$1 configuration=$2
    mount -t tmpfs none /run/systemd && mkdir /run/systemd/system || exit
    # What the manager of the system makes, and puts in the place of what a service may not see.
    hidden=/run/systemd/inaccessible
    mkdir $hidden $hidden/dir && touch $hidden/reg && mkfifo $hidden/fifo && mknod $hidden/chr c 0 0 || exit
    mount -t tmpfs none /mnt && mkdir /mnt/bin /mnt/etc /mnt/work || exit
    mount --bind "$program" /mnt/bin || exit
    mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work none /etc || exit
    mkdir -p /etc/chadthrottle && mount --bind "$configuration" /etc/chadthrottle || exit
    mount -t bpf none /sys/fs/bpf || exit
    echo 0 > "$3/cgroup.procs" || exit
    for systemd in /usr/lib/systemd/systemd /lib/systemd/systemd; do
        [ -x "$systemd" ] && exec "$systemd" --user --unit=default.target
    done"#;

const SOON: Duration = Duration::from_secs(15);

/// The manager, and the program with the state directory of its service.
pub struct Systemd {
    pub program: Chadthrottle,
    manager: Running,
    cgroup: Cgroup,
}

impl Systemd {
    /// With these lines added to the service.
    #[track_caller]
    pub fn start(attach: &str, lines: &str) -> Self {
        let program = Chadthrottle::in_memory();
        let state = program.state().to_owned();
        let units = state.join("config/systemd/user");
        let service = units.join("chadthrottle.service.d");
        let socket = units.join("chadthrottle.socket.d");
        for directory in [&service, &socket, &state.join("run"), &state.join("etc")] {
            fs::create_dir_all(directory).expect("a directory");
        }
        let (path, there) = (state.display(), there());
        for (name, text) in [
            ("default.target", "[Unit]\nDescription=Nothing\n".to_owned()),
            ("chadthrottle.service", SERVICE.to_owned()),
            ("chadthrottle.socket", SOCKET.to_owned()),
            (
                "chadthrottle.service.d/test.conf",
                format!(
                    "[Service]\nRuntimeDirectory=\nReadWritePaths={path}\nExecStart=\n\
                     ExecStart=/mnt/bin/chadthrottle --state-dir {path} {there} --attach {attach} engine\n\
                     StandardError=append:{path}/engine.log\n\
                     # What Type=notify-reload does, from systemd 253 on.\n\
                     ExecReload=kill -HUP $MAINPID\n{lines}\n"
                ),
            ),
            (
                "chadthrottle.socket.d/test.conf",
                format!("[Socket]\nListenStream=\nListenStream={path}/control.sock\n"),
            ),
        ] {
            fs::write(units.join(name), text).expect("a unit");
        }
        let cgroup = Cgroup::new("systemd");
        let binaries = Chadthrottle::path();
        let binaries = binaries.parent().expect("its directory");
        let log = fs::File::create(state.join("systemd.log")).expect("a file");
        let manager = Command::new("unshare")
            .args(["--mount", "sh", "-c", START, "sh"])
            .args([binaries, &state.join("etc"), Path::new(&cgroup.0)])
            .env("XDG_RUNTIME_DIR", state.join("run"))
            .env("XDG_CONFIG_HOME", state.join("config"))
            .env("SYSTEMD_LOG_TARGET", "console")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn();
        let systemd = Self {
            program,
            manager: Running(manager.expect("unshare(1)")),
            cgroup,
        };
        eventually("systemd is there", SOON, || {
            systemd.ctl("is-active default.target").status.success()
        });
        systemd
    }

    /// `systemctl` with these arguments.
    #[track_caller]
    pub fn ctl(&self, arguments: &str) -> Output {
        let output = Command::new("nsenter")
            .args(["--mount", "--target", &self.manager.pid().to_string()])
            .args(["systemctl", "--user"])
            .args(arguments.split(' '))
            .env("XDG_RUNTIME_DIR", self.program.state().join("run"))
            .output();
        output.expect("nsenter(1)")
    }

    /// The same, which must succeed.
    #[track_caller]
    pub fn does(&self, arguments: &str) {
        let output = self.ctl(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "systemctl {arguments}: {said}\n{}",
            self.log()
        );
    }

    /// A property of the service.
    #[track_caller]
    pub fn service(&self, property: &str) -> String {
        let output = self.ctl(&format!(
            "show --value --property={property} chadthrottle.service"
        ));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What the manager and the service have said.
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.program.state().join(name)).unwrap_or_default();
        read("systemd.log") + &read("engine.log")
    }

    /// What the engine reads as the system's configuration.
    #[track_caller]
    pub fn configure(&self, text: &str) {
        fs::write(self.program.state().join("etc/config.toml"), text).expect("a file");
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.ctl("stop chadthrottle.socket chadthrottle.service");
        if std::thread::panicking() {
            let journal = self.ctl("status --lines=0 --full chadthrottle.service");
            eprintln!(
                "{}\n{}",
                self.log(),
                String::from_utf8_lossy(&journal.stdout)
            );
        }
        let _ = self.ctl("exit");
        let pid = self.manager.pid();
        for _ in 0..250 {
            if !lives(pid) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // It leaves its own cgroups, and where the machine has older hierarchies, some of the same names there.
        let path = self.cgroup.path().trim_start_matches('/').to_owned();
        for hierarchy in [cgroup2(), "/sys/fs/cgroup/systemd".to_owned()] {
            let _ = Command::new("find")
                .arg(Path::new(&hierarchy).join(&path))
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
                .stderr(Stdio::null())
                .status();
        }
    }
}

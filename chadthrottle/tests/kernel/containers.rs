//! Containers of a real runtime: Podman's, held by the names that it has for them.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

use crate::{
    iperf::{Report, server},
    lab::{Lab, SERVER_V4},
    program::Running,
    ruled::{Ruled, rule},
    rules::mean,
};

/// The cgroup that they are in. Podman makes it, and leaves it.
const PARENT: &str = "chadthrottle-test-podman";

/// An image, which needs no registry, and what becomes of it.
struct Image {
    name: String,
}

fn podman() -> Command {
    let mut podman = Command::new("podman");
    // Whatever manages the machine's cgroups: crun has no containers where some of them are of the first version.
    podman.args(["--cgroup-manager=cgroupfs", "--runtime=runc"]);
    podman
}

impl Image {
    /// Links to where programs are, and empty directories.
    fn make() -> Self {
        let name = format!("chadthrottle-test:{}", std::process::id());
        let directory = tempfile::tempdir().expect("a directory");
        let (root, archive) = (directory.path().join("root"), directory.path().join("tar"));
        for empty in ["usr", "proc", "sys", "dev", "etc", "run", "tmp"] {
            fs::create_dir_all(root.join(empty)).expect("a directory");
        }
        for link in ["bin", "lib", "lib64"] {
            symlink(format!("usr/{link}"), root.join(link)).expect("a link");
        }
        let mut tar = Command::new("tar");
        let tar = tar.arg("-cf").arg(&archive).arg("-C").arg(root).arg(".");
        assert!(tar.status().expect("tar(1)").success());
        let mut import = podman();
        import.args(["import", "--quiet"]).arg(archive).arg(&name);
        let output = import.output().expect("podman");
        assert!(output.status.success(), "{output:?}");
        Self { name }
    }

    /// A command in a container of that name, in a network namespace.
    fn command(&self, container: &str, namespace: &str) -> Command {
        let mut run = podman();
        run.args(["run", "--rm", "--pull=never", "--volume=/usr:/usr:ro"]);
        // What root may have here need not be what Podman would give.
        run.args(["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]);
        run.arg(format!("--cgroup-parent=/{PARENT}"));
        run.arg(format!("--network=ns:/run/netns/{namespace}"));
        run.args(["--name", container, &self.name]);
        run
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // With the containers that it may still have.
        let _ = podman().args(["rmi", "--force", &self.name]).output();
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        for mount in mounts.lines() {
            let fields: Vec<&str> = mount.split(' ').collect();
            if let [_, path, "cgroup" | "cgroup2", ..] = *fields {
                for cgroup in [format!("{PARENT}/conmon"), PARENT.to_owned()] {
                    let _ = fs::remove_dir(format!("{path}/{cgroup}"));
                }
            }
        }
    }
}

#[test]
fn a_container_of_podman_is_held_by_its_name_and_another_is_not() {
    let lab = Lab::new();
    let image = Image::make();
    let ruled = Ruled::with(&rule("container", "container:ct-held-*", "down = '1MB/s'"));
    let transfers = ["held", "free"].map(|kind| {
        let port = if kind == "held" { 5201 } else { 5202 };
        let server = server(&lab, port);
        let name = format!("ct-{kind}-{}", std::process::id());
        let mut command = image.command(&name, &lab.client);
        let load = format!("iperf3 -J -c {SERVER_V4} -p {port} -t 5 -i 0.1 -R -b 80M");
        command.args(load.split(' ')).stdout(Stdio::piped());
        (server, Running(command.spawn().expect("podman")))
    });
    let [held, free] = transfers.map(|(_server, mut client)| {
        let output = client.0.stdout.take().expect("its output");
        let text = std::io::read_to_string(output).expect("a report");
        mean(&Report::parse(&text, "in a container"), 2.0, 5.0)
    });
    println!("{held:.2} MB/s in the one, {free:.2} in the other");
    assert!(held < 1.3 && free > 8.0, "{held:.2}, {free:.2}");
    ruled.end();
}

//! `test`: everything that has to hold before a change is taken.

use std::{fs, path::PathBuf, process::Command};

use anyhow::bail;

use crate::{
    build_ebpf, check, deny,
    kernel_tests::{KernelTests, path_with_sbin},
    kernels, packages,
    shell::{Aside, as_root, find, output, root, run},
    steps::Steps,
    toolchain, varlinkctl,
};

/// A tool that the tests call, and the package that has it on Debian and Ubuntu.
const TOOLS: [(&str, &str); 20] = [
    ("bpftool", "bpftool"),
    ("cc", "gcc"),
    ("dbus-daemon", "dbus"),
    (DBUSMOCK, "python3-dbusmock"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("perl", "perl"),
    ("pgrep", "procps"),
    ("pip3", "python3-pip"),
    ("podman", "podman"),
    ("pyflakes3", "pyflakes3"),
    // The minimal one has no json.
    ("python3", "python3"),
    ("runc", "runc"),
    ("setpriv", "util-linux"),
    ("ss", "iproute2"),
    ("systemctl", "systemd"),
    ("tar", "tar"),
    ("tmux", "tmux"),
    ("wget", "wget"),
];

/// No program: a module of the system's Python.
const DBUSMOCK: &str = "python-dbusmock";

/// Whether this machine has a tool.
fn has(tool: &str) -> bool {
    if tool != DBUSMOCK {
        return find(tool).is_some();
    }
    let mut python = Command::new("/usr/bin/python3");
    output(python.args(["-c", "import dbusmock"])).is_some()
}

/// Runs all steps and says how long each took.
pub fn test() -> anyhow::Result<()> {
    let mut steps = Steps::default();
    steps.step("tools", tools)?;
    let varlinkctl = steps.step("varlinkctl", varlinkctl::find_or_fetch)?;
    steps.step("dependencies", deny::deny)?;
    check::steps(&mut steps)?;
    steps.step("Python of the kernel tests, linted", lint_python)?;
    let kernel_tests = steps.step("kernel tests, built", || KernelTests::build(varlinkctl))?;
    let compiled = Aside::start(&mut at_leisure_command()?)?;
    let all = kernel_tests.chosen(|_| true)?;
    let mut failed = steps.step("kernel tests, three at a time", || {
        kernel_tests.beside_others(&all)
    })?;
    failed.extend(steps.step("kernel tests at the root cgroup", || {
        kernel_tests.at_the_root(&all)
    })?);
    steps.step("test_cleanup.sh", test_cleanup)?;
    steps.step("limits that a process tries to outrun", escapes)?;
    steps.step("what was built and booted meanwhile", || compiled.succeed())?;
    steps.step("kernel tests that failed, again", || {
        kernel_tests.again(&failed)
    })?;
    let fresh = fresh_object();
    if fresh.is_file() && !build_ebpf::is_committed(&fresh)? {
        steps.step("kernel tests with the object just built", || {
            kernel_tests.with_object(&fresh)
        })?;
    }
    steps.summary();
    Ok(())
}

/// What only wants the processor, and gets what the kernel tests leave of it, which wait for traffic most of the time.
pub fn at_leisure() -> anyhow::Result<()> {
    let mut steps = Steps::default();
    steps.step("documentation", check::documentation)?;
    steps.step("clippy", check::clippy)?;
    steps.step("kernel programs from source", build_fresh_object)?;
    steps.step("the oldest kernel", kernels::oldest)?;
    steps.summary();
    Ok(())
}

/// The command that does it.
fn at_leisure_command() -> anyhow::Result<Command> {
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(std::env::current_exe()?);
    command.arg("at-leisure");
    Ok(command)
}

/// Installs the missing tools, or names them.
fn tools() -> anyhow::Result<()> {
    check::tools()?;
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| !has(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !packages::can_install() {
        let names: Vec<_> = missing.iter().map(|(tool, _)| *tool).collect();
        bail!("these tools are missing: {}", names.join(", "));
    }
    let mut wanted: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    wanted.dedup();
    // Ubuntu has bpftool in another package.
    if wanted.contains(&"bpftool") && !packages::available("bpftool") {
        wanted.retain(|package| *package != "bpftool");
        wanted.extend(["linux-tools-common", "linux-tools-generic"]);
    }
    packages::install(&wanted)?;
    match TOOLS.iter().find(|(tool, _)| !has(tool)) {
        Some((tool, _)) => bail!(
            "{tool} is still missing after installing {}",
            wanted.join(" ")
        ),
        None => Ok(()),
    }
}

/// Where the object is that is built from source.
fn fresh_object() -> PathBuf {
    fresh_directory().join(build_ebpf::OBJECT)
}

fn fresh_directory() -> PathBuf {
    root().join("target/ebpf-fresh")
}

/// Builds the object from source, here and elsewhere. Only systems other than Debian and Ubuntu may go without, where no
/// toolchain can be had.
fn build_fresh_object() -> anyhow::Result<()> {
    let directory = fresh_directory();
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    match toolchain::find_or_install() {
        Ok(toolchain) => {
            let fresh = build_ebpf::build(&toolchain, &directory, build_ebpf::Variant::Committed)?;
            let same = build_ebpf::is_committed(&fresh)?;
            let verdict = if same { "the same as" } else { "another than" };
            println!("the object built here is {verdict} the committed one");
            build_ebpf::build_elsewhere(&toolchain, &fresh)?;
            println!("the same sources give it in another directory too");
            Ok(())
        }
        Err(error) if packages::can_install() || std::env::var_os("CI").is_some() => Err(error),
        Err(error) => {
            println!("{error}");
            println!("THE KERNEL PROGRAMS WERE NOT REBUILT: GOING ON WITH THE COMMITTED OBJECT");
            Ok(())
        }
    }
}

/// What compiling does not find: names that nobody has defined, and what nobody uses.
fn lint_python() -> anyhow::Result<()> {
    run(Command::new("pyflakes3").arg(check::python()))
}

/// With the debug build that the kernel tests have, since a release build takes minutes.
fn test_cleanup() -> anyhow::Result<()> {
    let mut command: Command = as_root("env")?;
    for (name, path) in [
        ("CHADTHROTTLE", root().join("target/debug/chadthrottle")),
        ("CHADTHROTTLE_EBPF_OBJECT", build_ebpf::committed_object()),
    ] {
        command.arg(format!("{name}={}", path.display()));
    }
    command.arg("GUARD_KB=8000");
    command.arg(root().join("test_cleanup.sh"));
    run(command.current_dir(root()).env("PATH", path_with_sbin()?))
}

fn escapes() -> anyhow::Result<()> {
    let mut command = as_root(std::env::current_exe()?)?;
    // By now the program is built, and the load, by us rather than by root.
    command.args(["bench", "escapes", "--quick"]);
    run(command.current_dir(root()).env("PATH", path_with_sbin()?))
}

//! The kernel tests: as root, and as many at a time as they bear.
//!
//! Most attach to a cgroup of their own and to nothing above it, so two such runs do not see each other:
//! one measures, and mostly waits; the other does not.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::shell::{Aside, as_root, cargo, root, run};

/// Modules and tests whose subject is the root cgroup: the sockets of the kernel itself are there.
const AT_THE_ROOT: [&str; 19] = [
    "attach::",
    "attribution::raw_sockets",
    "bad_input::",
    "bounds::without_btf",
    "cleanup::",
    // Podman cannot put them below a cgroup that has processes.
    "containers::",
    "custody::",
    "doctor::",
    "exactness::",
    "faults::",
    // It leaves the machine no time for others.
    "following::a_limit_with_children_holds_in_a_storm",
    "foreign::",
    // Whoever starts at the same time cleans up.
    "lifecycle::twenty_times_sigkill_of_engine_and_guard",
    // What puts sockets back is pinned then, and held by nobody.
    "levers::when_the_guard_was_killed_too",
    "namespaces::",
    // It counts slots, which users of sockets elsewhere take too.
    "ownership::a_socket_of_an_ended_child",
    // Where units of systemd have their cgroups.
    "rules::at_the_root",
    "shrinking::when_the_guard_was_killed_too",
    // The last pass of every engine waits for it.
    "silent::a_program_that_has_its_connection_locked",
];

/// Tests that measure rates, by what their names begin with: never two of them at a time.
const MEASURING: [&str; 18] = [
    "bounds::",
    "debt::",
    "ecn::",
    "following::",
    "gates::",
    "iperf::",
    "levers::",
    "limits::",
    "mptcp::",
    "no_harm::",
    "rules::a_block_holds",
    "rules::a_profile_is",
    "rules::a_rule_begins",
    "rules::a_rule_holds",
    "rules::an_upload",
    "short_lives::",
    "shrinking::",
    "starts::",
];

/// Some that measure nothing and go with those that do, so that both lanes take equally long.
const WITH_THEM: [&str; 4] = ["closed_pipes::", "documents::", "networks::", "rejecting::"];

/// What the tests that try an object just built have in their names: they load it in each way.
const WITH_OTHER_OBJECTS: &str = "after_load";

/// More failures than this are not the others' doing.
const FEW: usize = 3;

/// The tests, built.
pub struct KernelTests {
    binary: PathBuf,
    varlinkctl: PathBuf,
}

impl KernelTests {
    /// Builds them. They will speak to engines with this varlinkctl.
    pub fn build(varlinkctl: PathBuf) -> anyhow::Result<Self> {
        let package = ["--locked", "--quiet", "--package", "chadthrottle"];
        // The examples are helpers of the tests.
        run(cargo().arg("build").args(package).arg("--examples"))?;
        let mut command = cargo();
        command.arg("test").args(package).args([
            "--test",
            "kernel",
            "--no-run",
            "--message-format=json",
        ]);
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .context("cargo test --no-run")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let binary = text
            .lines()
            .filter(|line| line.contains(r#""name":"kernel""#))
            .find_map(|line| line.split_once(r#""executable":""#)?.1.split('"').next())
            .map(PathBuf::from)
            .context("cargo names no kernel test binary")?;
        Ok(Self { binary, varlinkctl })
    }

    /// Those that bear others beside them. Gives the names of a few that failed: alone they may pass.
    pub fn beside_others(&self) -> anyhow::Result<Vec<String>> {
        let alone = AT_THE_ROOT.iter().flat_map(|name| ["--skip", *name]);
        let first = MEASURING.iter().chain(&WITH_THEM);
        let measuring: Vec<&str> = first.copied().chain(alone).collect();
        let measuring = Lane::start(self, "measure", &measuring)?;
        let mut others = Vec::new();
        for module in MEASURING.iter().chain(&WITH_THEM).chain(&AT_THE_ROOT) {
            others.extend(["--skip", module]);
        }
        let others = Lane::start(self, "others", &others)?;
        let (measuring, others) = (measuring.end(), others.end());
        let failed = [measuring?, others?].concat();
        if failed.len() > FEW {
            bail!("{} kernel tests failed", failed.len());
        }
        for name in &failed {
            println!("FAILED BESIDE OTHERS, TRIED AGAIN ALONE: {name}");
        }
        Ok(failed)
    }

    /// Those that do not, and those that failed beside others.
    pub fn alone(&self, failed: &[String]) -> anyhow::Result<()> {
        run(self.command()?.args(AT_THE_ROOT).args(failed))
    }

    /// Those that load an object that was just built, in place of the committed one.
    pub fn with_object(&self, object: &Path) -> anyhow::Result<()> {
        let mut command = self.placed()?;
        command.arg(format!("CHADTHROTTLE_EBPF_OBJECT={}", object.display()));
        command.arg(&self.binary).arg("--test-threads=1");
        run(command.arg(WITH_OTHER_OBJECTS))
    }

    /// One test after the other.
    fn command(&self) -> anyhow::Result<Command> {
        let mut command = self.placed()?;
        command.arg(&self.binary);
        // What was measured is worth seeing.
        command.args(["--test-threads=1", "--show-output"]);
        Ok(command)
    }

    /// The beginning of a command: as root, where the tests find their files and tools.
    fn placed(&self) -> anyhow::Result<Command> {
        // What it sets is not lost on the way through sudo.
        let mut command = as_root("env")?;
        command.current_dir(root().join("chadthrottle"));
        let mut path = OsString::from("PATH=");
        path.push(path_with_sbin()?);
        command.arg(path);
        let mut varlinkctl = OsString::from("CHADTHROTTLE_VARLINKCTL=");
        varlinkctl.push(&self.varlinkctl);
        command.arg(varlinkctl);
        // State directories are in memory, as /run is: a disk that others write to delays by seconds what is
        // to be safe there.
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            command.arg("TMPDIR=/dev/shm");
        }
        Ok(command)
    }
}

/// Some of the tests, in a cgroup of their own.
struct Lane {
    name: &'static str,
    tests: Aside,
}

impl Lane {
    fn start(tests: &KernelTests, name: &'static str, which: &[&str]) -> anyhow::Result<Self> {
        /// Makes the cgroup, runs the rest in it, and removes it when its last process has gone.
        const SCRIPT: &str = r#"
            cgroup=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/chadthrottle-tests-$$-$1
            shift
            mkdir "$cgroup" || exit
            # What ends us ends the tests too, and they tidy up.
            trap : INT TERM HUP
            (echo 0 >"$cgroup/cgroup.procs" && CHADTHROTTLE_TEST_CGROUP=$cgroup exec "$@")
            status=$?
            for wait in 1 2 3 4 5 6 7 8 9 10; do
                rmdir "$cgroup" 2>/dev/null && exit $status
                sleep 0.2
            done
            echo "left in $cgroup: processes $(cat "$cgroup/cgroup.procs"), $(ls -d "$cgroup"/*/)"
            exit 1"#;
        let mut command = tests.placed()?;
        command
            .args(["sh", "-c", SCRIPT, "sh", name])
            .arg(&tests.binary);
        command
            .args(["--test-threads=1", "--show-output"])
            .args(which);
        let tests = Aside::start(&mut command)?;
        Ok(Self { name, tests })
    }

    /// Waits for its end, prints what it has said, and gives the names of those that failed.
    fn end(self) -> anyhow::Result<Vec<String>> {
        let (status, said) = self.tests.end()?;
        println!("-- {}: {status}\n{said}", self.name);
        let failed = failures(&said);
        if !status.success() && failed.is_empty() {
            bail!(
                "the kernel tests '{}' did not end well: {status}",
                self.name
            );
        }
        Ok(failed)
    }
}

/// The names below the last "failures:", as the test harness prints them.
fn failures(said: &str) -> Vec<String> {
    let Some((_, list)) = said.rsplit_once("\nfailures:\n") else {
        return Vec::new();
    };
    list.lines()
        .map_while(|line| line.strip_prefix("    "))
        .map(str::to_owned)
        .collect()
}

/// Tools for administrators are not in everybody's PATH.
pub fn path_with_sbin() -> anyhow::Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    Ok(std::env::join_paths(
        std::env::split_paths(&path).chain(sbin),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_from_what_the_harness_prints() {
        let said = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\nfailures:\n\n\nfailures:\n    \
                    a::b\n    a::c\n\ntest result: FAILED. 1 passed; 2 failed\n";
        assert_eq!(failures(said), ["a::b", "a::c"]);
        assert!(failures("test result: ok. 2 passed\n").is_empty());
    }

    #[test]
    fn all_that_is_named_is_there() {
        let directory = root().join("chadthrottle/tests/kernel");
        for name in MEASURING.iter().chain(&WITH_THEM).chain(&AT_THE_ROOT) {
            let (module, test) = name.split_once("::").unwrap();
            let file = directory.join(module).with_extension("rs");
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains(&format!("fn {test}")), "{name}");
        }
        let attach = std::fs::read_to_string(directory.join("attach.rs")).unwrap();
        assert!(attach.contains(&format!("{WITH_OTHER_OBJECTS}()")));
    }
}

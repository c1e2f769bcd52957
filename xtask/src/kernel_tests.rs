//! The kernel tests: as root, and as many at a time as they bear.
//!
//! Most attach to a cgroup of their own and to nothing above it, so they do not see each other, and most of their time
//! they wait for traffic.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    slice,
    sync::Mutex,
    thread,
    time::Instant,
};

use anyhow::{Context, bail};

use crate::{
    shell::{Aside, as_root, cargo, output, root, run},
    varlinkctl,
};

/// So many run at a time, and so many of these may be such as measure what is fast. Of four at a time, two of which
/// measured, ten failed on two processors, all of them for want of time.
const AT_A_TIME: usize = 3;
const MEASURING_AT_A_TIME: usize = 1;

/// Modules and tests whose subject is the root cgroup: the sockets of the kernel itself are there.
const AT_THE_ROOT: [&str; 20] = [
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
    "ownership::one_users_processes",
    // Where units of systemd have their cgroups.
    "rules::at_the_root",
    "shrinking::when_the_guard_was_killed_too",
    // The last pass of every engine waits for it.
    "silent::a_program_that_has_its_connection_locked",
];

/// Tests that measure what is fast, or when something happens, by what their names begin with. Slow limits hold beside
/// others.
const MEASURING: [&str; 12] = [
    "bounds::",
    "debt::",
    "gates::",
    "iperf::",
    "levers::",
    "limits::",
    "no_harm::",
    "rules::a_block_holds",
    "service::a_transfer",
    "short_lives::",
    "shrinking::",
    "starts::",
];

/// What the tests that try an object just built have in their names: they load it in each way.
const WITH_OTHER_OBJECTS: &str = "after_load";

/// More failures than this are not the doing of what runs beside them.
const FEW: usize = 5;

/// Runs those whose names contain any of these, or all, as the gate does.
pub fn kernel_tests(names: &[String]) -> anyhow::Result<()> {
    let tests = KernelTests::build(varlinkctl::find_or_fetch()?)?;
    let chosen =
        tests.chosen(|name| names.is_empty() || names.iter().any(|it| name.contains(it)))?;
    if chosen.is_empty() {
        bail!("no kernel test has {} in its name", names.join(" or "));
    }
    let mut failed = tests.beside_others(&chosen)?;
    failed.extend(tests.at_the_root(&chosen)?);
    tests.again(&failed)
}

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

    /// The names of those that are to run.
    pub fn chosen(&self, is_chosen: impl Fn(&str) -> bool) -> anyhow::Result<Chosen> {
        let listed = output(Command::new(&self.binary).args(["--list", "--format=terse"]));
        let listed = listed.context("the kernel tests do not list themselves")?;
        let names = listed.lines().filter_map(|it| it.strip_suffix(": test"));
        Ok(Chosen::of(names.filter(|name| is_chosen(name))))
    }

    /// Runs those that bear others beside them. Gives the names of those that failed.
    pub fn beside_others(&self, chosen: &Chosen) -> anyhow::Result<Vec<String>> {
        let queues = Queues::of(chosen);
        let failed = thread::scope(|scope| {
            let queues = &queues;
            let start = |worker| {
                let next = move || queues.next(worker < MEASURING_AT_A_TIME);
                scope.spawn(move || self.work(next, |name| self.in_a_cgroup(name)))
            };
            let workers: Vec<_> = (0..AT_A_TIME).map(start).collect();
            let results = workers.into_iter().map(|worker| match worker.join() {
                Ok(failed) => failed,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            // All have ended before any error counts.
            let results: Vec<_> = results.collect();
            results.into_iter().collect::<anyhow::Result<Vec<_>>>()
        })?;
        Ok(failed.concat())
    }

    /// Runs those that do not, one after the other. Gives the names of those that failed.
    pub fn at_the_root(&self, chosen: &Chosen) -> anyhow::Result<Vec<String>> {
        let mut names = chosen.at_the_root.iter().map(String::as_str);
        self.work(|| names.next(), |name| self.at_its_place(name))
    }

    /// Runs those that failed once more, when nothing runs beside them.
    ///
    /// # Errors
    /// Where one fails again, or more than [`FEW`] have failed.
    pub fn again(&self, failed: &[String]) -> anyhow::Result<()> {
        if failed.len() > FEW {
            bail!("these kernel tests failed: {}", failed.join(", "));
        }
        for name in failed {
            println!("FAILED BESIDE OTHER WORK, TRIED AGAIN: {name}");
        }
        let mut names = failed.iter().map(String::as_str);
        let failed = self.work(|| names.next(), |name| self.at_its_place(name))?;
        if failed.is_empty() {
            return Ok(());
        }
        bail!("these kernel tests failed twice: {}", failed.join(", "))
    }

    /// Runs one test after the other, and gives the names of those that failed.
    fn work<'a>(
        &self,
        mut next: impl FnMut() -> Option<&'a str>,
        run: impl Fn(&str) -> anyhow::Result<(ExitStatus, String)>,
    ) -> anyhow::Result<Vec<String>> {
        let mut failed = Vec::new();
        while let Some(name) = next() {
            let started = Instant::now();
            let (status, said) = run(name)?;
            let took = started.elapsed().as_secs_f64();
            // What was measured is worth seeing, and little else of those that passed.
            let (verdict, said) = match status.success() {
                true => ("passed", printed(&said)),
                false => ("FAILED", said.as_str()),
            };
            println!("{took:6.1} s  {name}: {verdict}{said}");
            if !status.success() {
                failed.push(name.to_owned());
            }
        }
        Ok(failed)
    }

    /// Those that load an object that was just built, in place of the committed one.
    pub fn with_object(&self, object: &Path) -> anyhow::Result<()> {
        let mut command = self.placed()?;
        command.arg(format!("CHADTHROTTLE_EBPF_OBJECT={}", object.display()));
        command.arg(&self.binary).arg("--test-threads=1");
        run(command.arg(WITH_OTHER_OBJECTS))
    }

    /// Runs one test in a cgroup of its own; gives how it ended, and what it has said.
    fn in_a_cgroup(&self, name: &str) -> anyhow::Result<(ExitStatus, String)> {
        /// Makes the cgroup, runs the rest in it, and removes it when its last process has gone.
        const SCRIPT: &str = r#"
            cgroup=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/chadthrottle-tests-$$
            mkdir "$cgroup" || exit
            # What ends us ends the test too, and it tidies up.
            trap : INT TERM HUP
            (echo 0 >"$cgroup/cgroup.procs" && CHADTHROTTLE_TEST_CGROUP=$cgroup exec "$@")
            status=$?
            # Some tests leave programs that end soon.
            for wait in $(seq 60); do
                rmdir "$cgroup" 2>/dev/null && exit $status
                sleep 0.5
            done
            echo "left in $cgroup: processes $(cat "$cgroup/cgroup.procs"), $(ls -d "$cgroup"/*/)"
            exit 1"#;
        let mut command = self.placed()?;
        command.args(["sh", "-c", SCRIPT, "sh"]).arg(&self.binary);
        command.args(["--show-output", "--exact", name]);
        Aside::start(&mut command)?.end()
    }

    /// Runs one test in the cgroup that we are in.
    fn at_its_place(&self, name: &str) -> anyhow::Result<(ExitStatus, String)> {
        let mut command = self.placed()?;
        command.arg(&self.binary);
        command.args(["--show-output", "--exact", name]);
        Aside::start(&mut command)?.end()
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

/// The names of tests, by what they bear beside them.
#[derive(Default)]
pub struct Chosen {
    /// Others that measure rates, but not many.
    measuring: Vec<String>,
    /// All others.
    others: Vec<String>,
    /// None.
    at_the_root: Vec<String>,
}

impl Chosen {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut chosen = Self::default();
        for name in names {
            let is_of = |list: &[&str]| list.iter().any(|it| name.starts_with(it));
            let list = if is_of(&AT_THE_ROOT) {
                &mut chosen.at_the_root
            } else if is_of(&MEASURING) {
                &mut chosen.measuring
            } else {
                &mut chosen.others
            };
            list.push(name.to_owned());
        }
        chosen
    }

    fn is_empty(&self) -> bool {
        let lists = [&self.measuring, &self.others, &self.at_the_root];
        lists.iter().all(|list| list.is_empty())
    }
}

/// The tests that bear others and are still to run.
struct Queues<'a> {
    measuring: Mutex<slice::Iter<'a, String>>,
    others: Mutex<slice::Iter<'a, String>>,
}

impl<'a> Queues<'a> {
    fn of(chosen: &'a Chosen) -> Self {
        Self {
            measuring: Mutex::new(chosen.measuring.iter()),
            others: Mutex::new(chosen.others.iter()),
        }
    }

    /// The next one: one that measures, for who may run such, while there are any.
    fn next(&self, measures: bool) -> Option<&'a str> {
        let next = |queue: &Mutex<slice::Iter<'a, String>>| queue.lock().ok()?.next();
        let first = measures.then(|| next(&self.measuring)).flatten();
        first.or_else(|| next(&self.others)).map(String::as_str)
    }
}

/// What a test that passed has printed itself, from the end of a line on: the harness prints it between two lines of its
/// own.
fn printed(said: &str) -> &str {
    let Some((_, rest)) = said.split_once(" stdout ----") else {
        return "";
    };
    let end = rest.find("\nsuccesses:\n").unwrap_or(rest.len());
    rest[..end].trim_end()
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
    fn what_a_test_printed_is_shown_without_what_the_harness_did() {
        let said = "\nrunning 1 test\ntest a::b ... ok\n\nsuccesses:\n\n---- a::b stdout ----\n1 MB/s\n\n\nsuccesses:\n    \
                    a::b\n\ntest result: ok. 1 passed\n";
        assert_eq!(printed(said), "\n1 MB/s");
        assert_eq!(
            printed("\nrunning 1 test\ntest a::b ... ok\n\ntest result: ok"),
            ""
        );
    }

    #[test]
    fn who_measures_takes_others_too_when_none_that_measures_is_left() {
        let names = [
            "attach::a",
            "levers::b",
            "views::c",
            "views::d",
            "levers::e",
        ];
        let chosen = Chosen::of(names.into_iter());
        assert_eq!(chosen.at_the_root, ["attach::a"]);
        let queues = Queues::of(&chosen);
        assert_eq!(queues.next(true), Some("levers::b"));
        assert_eq!(queues.next(false), Some("views::c"));
        assert_eq!(queues.next(true), Some("levers::e"));
        assert_eq!(queues.next(true), Some("views::d"));
        assert_eq!((queues.next(true), queues.next(false)), (None, None));
    }

    #[test]
    fn all_that_is_named_is_there() {
        let directory = root().join("chadthrottle/tests/kernel");
        for name in MEASURING.iter().chain(&AT_THE_ROOT) {
            let (module, test) = name.split_once("::").unwrap();
            let file = directory.join(module).with_extension("rs");
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains(&format!("fn {test}")), "{name}");
        }
        let attach = std::fs::read_to_string(directory.join("attach.rs")).unwrap();
        assert!(attach.contains(&format!("{WITH_OTHER_OBJECTS}()")));
    }
}

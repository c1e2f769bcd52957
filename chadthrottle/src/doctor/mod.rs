//! The doctor: what this machine can do, what would be used, and whether programs really run.

mod probe;
mod problem;
mod surroundings;

use std::{borrow::Cow, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    backends::throttle::{ThrottleError, below::CgroupPath, cgroup, linux_ebpf_utils::AttachPoint},
    process::{cgroup_of, pids},
    reversal::{EngineLock, LockError},
    session::{Settings, pid_namespace, privilege},
};
pub use probe::Probe;
use problem::Problem;
pub use surroundings::{Attached, Cgroup2};

/// Schema of the JSON.
const SCHEMA: u32 = 1;

/// Everything the doctor found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Version of this layout.
    pub schema: u32,
    /// Release of the kernel.
    pub kernel: String,
    /// The cgroup2 hierarchy.
    pub cgroup2: Cgroup2,
    /// Where programs are, or would be, attached.
    pub attach_point: Option<String>,
    /// Capabilities that are needed and missing.
    pub missing_capabilities: Vec<Missing>,
    /// What the kernel offers.
    pub features: Vec<Feature>,
    /// Programs at the attach point, anybody's.
    pub attached: Vec<Attached>,
    /// The live probe; `None` where it could not be made, and `problem` says why.
    pub probe: Option<Probe>,
    /// How limits are enforced.
    pub levers: Vec<Cow<'static, str>>,
    /// What is wrong, in words; `None`: nothing.
    pub problem: Option<String>,
    /// The exit code that goes with it.
    #[serde(skip)]
    pub exit_code: u8,
}

/// A capability that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it is needed for.
    pub purpose: Cow<'static, str>,
}

/// Something that a kernel may lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// What it is.
    pub name: Cow<'static, str>,
    /// Whether it is there.
    pub present: bool,
    /// What it is good for, or what is done without it.
    pub meaning: Cow<'static, str>,
}

/// Examines the machine. Attaches for a moment, and detaches again.
pub fn examine(settings: &Settings) -> Report {
    let missing = privilege::present_missing();
    let mount = cgroup::cgroup2_mount();
    let mut report = Report {
        schema: SCHEMA,
        kernel: surroundings::kernel(),
        cgroup2: Cgroup2::of(mount.as_deref().ok()),
        attach_point: None,
        missing_capabilities: missing
            .iter()
            .map(|missing| Missing {
                name: missing.name.into(),
                purpose: missing.purpose.into(),
            })
            .collect(),
        features: surroundings::features(),
        attached: Vec::new(),
        probe: None,
        levers: Vec::new(),
        problem: None,
        exit_code: 0,
    };
    if let Err((problem, exit_code)) = examine_attaching(settings, mount, &missing, &mut report) {
        report.problem = Some(problem);
        report.exit_code = exit_code;
    }
    report
}

/// What is wrong, in words, and the exit code.
type Wrong = (String, u8);

fn examine_attaching(
    settings: &Settings,
    mount: Result<std::path::PathBuf, ThrottleError>,
    missing: &[privilege::Capability],
    report: &mut Report,
) -> Result<(), Wrong> {
    let throttle = |error: ThrottleError| (error.to_string(), error.exit_code());
    if !missing.is_empty() {
        let names = missing.iter().map(|missing| missing.name).collect();
        return Err(throttle(ThrottleError::Privilege(names)));
    }
    pid_namespace::check().map_err(throttle)?;
    let mount = mount.map_err(throttle)?;
    let path = settings.cgroup.as_deref().unwrap_or(&mount);
    let point = AttachPoint::open(path).map_err(throttle)?;
    report.attach_point = Some(point.path().display().to_string());
    report.attached = surroundings::attached(&point);
    let lock = match EngineLock::take(&settings.state_dir) {
        Ok(lock) => lock,
        // Nothing is wrong with that; the probe would only disturb it.
        Err(error @ LockError::Held(_)) => {
            log::info!("no probe: {error}");
            return Ok(());
        }
        Err(error) => return Err((error.to_string(), 1)),
    };
    let cut_off = cut_off_from(&point);
    let probe = probe::run(settings, lock.directory(), point).map_err(|error| {
        let code = error.exit_code();
        (error.to_string(), code)
    })?;
    let levers = probe.levers.describe();
    report.levers = levers.into_iter().map(Cow::Borrowed).collect();
    let problem = probe.problem();
    report.probe = Some(probe);
    let problem = problem.or((cut_off > 0).then_some(Problem::CutOff(cut_off)));
    problem.map_or(Ok(()), |problem| {
        Err((problem.to_string(), problem.exit_code()))
    })
}

/// How many processes are kept from programs at that point by a cgroup namespace.
fn cut_off_from(point: &AttachPoint) -> usize {
    let root = Path::new("/proc");
    let Some(point) = CgroupPath::of_point(point) else {
        return 0;
    };
    let cgroups = pids(root)
        .into_iter()
        .filter_map(|pid| cgroup_of(root, pid));
    cgroups
        .filter(|cgroup| point.is_cut_off(&CgroupPath::of(cgroup)))
        .count()
}

//! What an engine and its service manager, systemd, say to each other: that it is ready, lives, or reads its
//! configuration anew; the socket that the manager listens on for it; and what it keeps of one engine for the next.
//!
//! Where no manager waits for us all of it does nothing. See sd_notify(3), sd_listen_fds(3) and systemd.service(5).

mod inherited;
mod store;

use std::{
    env, fs,
    process::{Command, Stdio},
    time::Duration,
};

use sd_notify::NotifyState;

pub use inherited::{Inherited, Predecessor};
pub use store::Store;

/// Where the service manager of the system listens; that of a user listens elsewhere.
const OF_SYSTEM: &str = "/run/systemd/notify";

/// A service manager that has started us, and waits for our word.
#[derive(Clone, Copy, Debug)]
pub struct Manager(());

impl Manager {
    /// The one that has, if any. A shell of a service hands its variables down too: those are meant for the service.
    pub fn ours() -> Option<Self> {
        let started = env::var("SYSTEMD_EXEC_PID").ok();
        let is_ours = is_meant_for(std::process::id(), started.as_deref());
        env::var_os("NOTIFY_SOCKET")
            .filter(|_| is_ours)
            .map(|_| Self(()))
    }

    /// What `systemctl status` is to say.
    pub fn status(self, words: &str) {
        notify(&[NotifyState::Status(words)]);
    }

    /// We wait for something before we are ready, and go on waiting.
    pub fn waiting(self, words: &str) {
        // Until the next time that we say so.
        const LONGER: Duration = Duration::from_secs(30);
        let longer = u32::try_from(LONGER.as_micros()).unwrap_or(u32::MAX);
        notify(&[
            NotifyState::Status(words),
            NotifyState::ExtendTimeoutUsec(longer),
        ]);
    }

    /// We serve.
    pub fn ready(self) {
        notify(&[NotifyState::Ready, NotifyState::Status("")]);
    }

    /// We read our configuration anew, until we are ready again.
    pub fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => log::warn!("the clock, for the service manager: {error}"),
        }
    }

    /// We end.
    pub fn stopping(self) {
        notify(&[NotifyState::Stopping]);
    }

    /// We live.
    pub fn alive(self) {
        notify(&[NotifyState::Watchdog]);
    }

    /// Within which time it wants to hear that we live, if it does.
    pub fn wants_life_sign(self) -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }

    /// Whether we are told to end so that another one takes our place. Blocks for as long as the manager takes to
    /// answer. Where it does not say, nobody comes.
    pub fn restarts_us(self) -> bool {
        let Some(unit) = unit() else {
            return false;
        };
        let mut systemctl = Command::new("systemctl");
        if env::var_os("NOTIFY_SOCKET").is_some_and(|socket| socket != OF_SYSTEM) {
            systemctl.arg("--user");
        }
        systemctl
            .args(["--no-legend", "--plain", "--full", "list-jobs", &unit])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        match systemctl.output() {
            Ok(output) => is_restart(&String::from_utf8_lossy(&output.stdout), &unit),
            Err(error) => {
                log::warn!("systemctl, to ask whether this is a restart: {error}");
                false
            }
        }
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("telling the service manager: {error}");
    }
}

/// Whether variables that name the process which the manager has `started` are that process's. Managers of others, and
/// systemd before 248, do not name it.
fn is_meant_for(pid: u32, started: Option<&str>) -> bool {
    started.is_none_or(|started| started == pid.to_string())
}

/// The unit that we are: the last part of our cgroup.
fn unit() -> Option<String> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    // Where both kinds of hierarchies are mounted, all that systemd uses name it.
    let mut units = cgroups.lines().filter_map(|line| line.rsplit('/').next());
    units
        .find(|name| name.ends_with(".service"))
        .map(str::to_owned)
}

/// Whether a list of jobs has the unit restarted: a line for each, with number, unit, kind and state.
fn is_restart(jobs: &str, unit: &str) -> bool {
    let mut jobs = jobs.lines().map(str::split_whitespace);
    jobs.any(|mut job| job.nth(1) == Some(unit) && job.next() == Some("restart"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_a_service_are_not_those_of_what_it_has_started() {
        assert!(is_meant_for(7, None) && is_meant_for(7, Some("7")));
        assert!(!is_meant_for(8, Some("7")));
    }

    #[test]
    fn a_restart_is_told_from_a_stop() {
        let unit = "chadthrottle.service";
        for (jobs, expected) in [
            ("97 chadthrottle.service restart running\n", true),
            ("97 chadthrottle.service stop running\n", false),
            (
                "96 other.service restart running\n97 chadthrottle.service stop waiting\n",
                false,
            ),
            ("No jobs running.\n", false),
            ("", false),
        ] {
            assert_eq!(is_restart(jobs, unit), expected, "{jobs}");
        }
    }
}

//! The capabilities that the engine needs.

use procfs::process::Process;

use crate::backends::throttle::ThrottleError;

/// A capability: its number (include/uapi/linux/capability.h), its name, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    number: u8,
    /// As setcap(8) and systemd spell it.
    pub name: &'static str,
    /// What we need it for.
    pub purpose: &'static str,
    /// Whether CAP_SYS_ADMIN, which it was split off from in 5.8, is as good.
    in_sys_admin: bool,
}

const SYS_ADMIN: u8 = 21;

/// All that the engine needs.
pub const NEEDED: [Capability; 6] = [
    Capability {
        number: 12,
        name: "CAP_NET_ADMIN",
        purpose: "attach programs to a cgroup",
        in_sys_admin: false,
    },
    Capability {
        number: 39,
        name: "CAP_BPF",
        purpose: "load programs",
        in_sys_admin: true,
    },
    Capability {
        number: 38,
        name: "CAP_PERFMON",
        purpose: "read start times of processes in the kernel",
        in_sys_admin: true,
    },
    Capability {
        number: SYS_ADMIN,
        name: "CAP_SYS_ADMIN",
        purpose: "find programs that earlier runs left",
        in_sys_admin: true,
    },
    Capability {
        number: 19,
        name: "CAP_SYS_PTRACE",
        purpose: "note the owners of open sockets",
        in_sys_admin: false,
    },
    Capability {
        number: 2,
        name: "CAP_DAC_READ_SEARCH",
        purpose: "list the descriptors of other users' processes",
        in_sys_admin: false,
    },
];

/// Those of [`NEEDED`] that an effective set (bits by number) lacks.
pub fn missing(effective: u64) -> Vec<Capability> {
    let has = |number: u8| effective >> number & 1 == 1;
    NEEDED
        .into_iter()
        .filter(|need| !(has(need.number) || need.in_sys_admin && has(SYS_ADMIN)))
        .collect()
}

/// What this process lacks. Where its own status cannot be read, nothing: the kernel will say
/// what is not allowed.
pub fn present_missing() -> Vec<Capability> {
    Process::myself()
        .and_then(|process| process.status())
        .map_or_else(|_| Vec::new(), |status| missing(status.capeff))
}

/// Whether this process may do all that the engine does.
///
/// # Errors
/// [`ThrottleError::Privilege`] with the names of the missing capabilities.
pub fn check() -> Result<(), ThrottleError> {
    match present_missing().as_slice() {
        [] => Ok(()),
        missing => {
            let names = missing.iter().map(|missing| missing.name).collect();
            Err(ThrottleError::Privilege(names))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(effective: u64) -> Vec<&'static str> {
        missing(effective)
            .iter()
            .map(|missing| missing.name)
            .collect()
    }

    #[test]
    fn what_is_missing_is_named_and_sys_admin_stands_for_what_came_out_of_it() {
        assert_eq!(names(u64::MAX), [""; 0]);
        assert_eq!(names(0).len(), NEEDED.len());
        let before_5_8 = 1 << 12 | 1 << 21 | 1 << 19 | 1 << 2;
        assert_eq!(names(before_5_8), [""; 0]);
        assert_eq!(names(!(1 << 12)), ["CAP_NET_ADMIN"]);
        assert_eq!(names(!(1 << 21 | 1 << 39)), ["CAP_BPF", "CAP_SYS_ADMIN"]);
    }

    #[test]
    fn what_to_do_stands_before_what_is_missing() {
        let said = ThrottleError::Privilege(names(!(1 << 12))).to_string();
        let begin = "not enough privilege: run it with sudo (CAP_NET_ADMIN missing). ";
        assert!(said.starts_with(begin), "{said}");
    }
}

//! What can be seen without attaching anything.

use std::{borrow::Cow, os::fd::AsFd, path::Path};

use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

use super::Feature;
use crate::{
    backends::throttle::{kernel_offsets, linux_ebpf_utils::AttachPoint},
    process::proc_file,
    sys::{
        bpf::{self, AttachType},
        sock_diag, socket,
    },
};

/// How cgroup2 is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup2 {
    /// `pure`: alone; `hybrid`: beside version 1; `none`.
    pub layout: Cow<'static, str>,
    /// Where.
    pub mount: Option<String>,
}

impl Cgroup2 {
    /// From where it is mounted, and what else is.
    pub fn of(mount: Option<&Path>) -> Self {
        let version_1 = proc_file::mounts()
            .is_ok_and(|mounts| mounts.into_iter().any(|mount| mount.fs_type == "cgroup"));
        let layout = match mount {
            None => "none",
            Some(_) if version_1 => "hybrid",
            Some(_) => "pure",
        };
        Self {
            layout: layout.into(),
            mount: mount.map(|mount| mount.display().to_string()),
        }
    }
}

/// Programs at one place of the attach point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The place, by bpftool's name.
    pub place: Cow<'static, str>,
    /// `multi`, `override` or `exclusive`.
    pub mode: Cow<'static, str>,
    /// The programs, in the order in which they run.
    pub programs: Vec<Program>,
}

/// Somebody's program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its id.
    pub id: u32,
    /// Its name, safe to show.
    pub name: String,
}

/// What is attached at the places that we use.
pub fn attached(point: &AttachPoint) -> Vec<Attached> {
    let programs = |ids: Vec<u32>| {
        let name = |id| {
            let info = bpf::prog_by_id(id).and_then(|program| bpf::prog_info(program.as_fd()));
            info.map(|info| crate::text::escape(&info.name).into_owned())
                .unwrap_or_default()
        };
        ids.into_iter()
            .map(|id| Program { id, name: name(id) })
            .collect()
    };
    AttachType::ALL
        .into_iter()
        .filter_map(|place| {
            let attached = bpf::prog_query(point.as_fd(), place).ok()?;
            let mode = match attached.flags {
                bpf::F_ALLOW_MULTI => "multi",
                0 => "exclusive",
                _ => "override",
            };
            let programs: Vec<Program> = programs(attached.programs);
            (!programs.is_empty()).then_some(Attached {
                place: place.name().into(),
                mode: mode.into(),
                programs,
            })
        })
        .collect()
}

/// Release of the running kernel.
pub fn kernel() -> String {
    uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// What the kernel offers.
pub fn features() -> Vec<Feature> {
    let offsets = kernel_offsets::read(Path::new(kernel_offsets::VMLINUX));
    let jit = std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable");
    let getfd = socket::pidfd_open(std::process::id())
        .is_ok_and(|us| socket::pidfd_getfd(us.as_fd(), 0).is_ok());
    vec![
        Feature {
            name: "kernel BTF".into(),
            present: offsets.kernel.task_tgid != 0,
            meaning: "children are limited from their first packet; without it, within 100 ms"
                .into(),
        },
        Feature {
            name: "BPF compiler (JIT)".into(),
            present: jit.is_ok_and(|value| value.trim() != "0"),
            meaning: "programs run at full speed; without it, every packet costs more".into(),
        },
        Feature {
            name: "pidfd_getfd".into(),
            present: getfd,
            meaning: "connections that are open already are limited; without it, only new ones"
                .into(),
        },
        Feature {
            name: "resetting connections".into(),
            present: sock_diag::can_reset().is_ok(),
            meaning: "a block with --reject resets TCP connections; without it, they wait".into(),
        },
        Feature {
            name: "BPF statistics".into(),
            present: bpf::enable_stats().is_ok(),
            meaning: "the probe sees the kernel's own count of runs, beside ours".into(),
        },
    ]
}

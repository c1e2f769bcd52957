//! The live probe: attach, send packets to ourselves, and see whether both programs ran.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::problem::{Problem, Why};
use crate::{
    backends::throttle::{
        linux_ebpf_utils::{AttachConfig, AttachPoint},
        manager::ThrottleManager,
    },
    error::Error,
    levers,
    model::Ability,
    reversal::{Ledger, StateDir},
    session::Settings,
    sys::{bpf, map::Value},
};

/// How many packets are sent.
const PACKETS: u64 = 16;

/// What the probe saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// How the programs were attached: `link`, `legacy` or `mixed`.
    pub attach_method: Cow<'static, str>,
    /// Packets that were sent over loopback, and so had to arrive.
    pub packets: u64,
    /// What our own programs counted for this process.
    pub counted: Runs,
    /// What the kernel counted, of all traffic; `None` where it cannot.
    pub runs: Option<Runs>,
    /// Whether the programs see who uses a socket.
    pub sees_socket_use: bool,
    /// Which levers the kernel has.
    pub levers: Ability,
    /// The programs were attached below the cgroup of this process, so could not see it.
    pub outside: bool,
}

/// Numbers for both programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// Arriving packets.
    pub ingress: u64,
    /// Packets sent.
    pub egress: u64,
}

impl Probe {
    /// What is wrong, with its likely cause; `None` where all packets were seen.
    pub fn problem(&self) -> Option<Problem> {
        if self.counted.ingress >= self.packets && self.counted.egress >= self.packets {
            return None;
        }
        let never_ran = self
            .runs
            .is_some_and(|runs| runs.ingress == 0 && runs.egress == 0);
        let why = if self.outside {
            Why::Outside
        } else if never_ran {
            Why::NeverRan
        } else {
            Why::Unknown
        };
        Some(Problem::Unseen {
            packets: self.packets,
            counted: self.counted,
            why,
        })
    }
}

/// Attaches, sends, counts and detaches.
///
/// # Errors
/// Where the programs cannot be attached or detached, or nothing can be sent.
pub fn run(settings: &Settings, state: &StateDir, point: AttachPoint) -> Result<Probe, Error> {
    let outside = settings.cgroup.is_some() && !point.holds_current_process();
    let ledger = Arc::new(Ledger::open(&settings.program, state, None)?);
    let mut throttle = ThrottleManager::start(&AttachConfig {
        point,
        mode: settings.attach,
        ledger,
    })?;
    let levers = levers::ability(throttle.take_passes().as_ref(), Path::new("/proc"));
    // On until dropped, for this moment only.
    let statistics = bpf::enable_stats().ok();
    let runs = |throttle: &ThrottleManager| {
        let programs = throttle.packet_programs()?;
        Ok::<_, Error>(Runs {
            ingress: programs.down.run_count,
            egress: programs.up.run_count,
        })
    };
    let before = runs(&throttle)?;
    exchange().map_err(|error| Error::io("sending packets over loopback", error))?;
    let after = runs(&throttle)?;
    let probe = Probe {
        attach_method: throttle.method().into(),
        sees_socket_use: throttle.sees_socket_use,
        levers,
        packets: PACKETS,
        counted: counted(&throttle),
        runs: statistics.map(|_| Runs {
            ingress: after.ingress - before.ingress,
            egress: after.egress - before.egress,
        }),
        outside,
    };
    match throttle.stop().into_iter().next() {
        None => Ok(probe),
        Some(error) => Err(error.into()),
    }
}

/// Sends packets from one socket of ours to another.
fn exchange() -> std::io::Result<()> {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    receiver.set_read_timeout(Some(Duration::from_secs(1)))?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for _ in 0..PACKETS {
        sender.send_to(b"chadthrottle probe", receiver.local_addr()?)?;
        receiver.recv(&mut [0; 64])?;
    }
    Ok(())
}

/// What the programs counted for this process.
fn counted(throttle: &ThrottleManager) -> Runs {
    let maps = &throttle.maps;
    let Ok(Value(owner)) = maps.processes.get(&std::process::id(), 0) else {
        return Runs::default();
    };
    maps.slots
        .get(owner.slot as usize)
        .map_or_else(Runs::default, |slot| Runs {
            ingress: slot.ingress.loopback_packets.get(),
            egress: slot.egress.loopback_packets.get(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(counted: (u64, u64), runs: Option<(u64, u64)>, outside: bool) -> Probe {
        let both = |(ingress, egress)| Runs { ingress, egress };
        Probe {
            sees_socket_use: true,
            levers: Ability::default(),
            attach_method: "link".into(),
            packets: PACKETS,
            counted: both(counted),
            runs: runs.map(both),
            outside,
        }
    }

    #[test]
    fn each_way_of_not_running_has_its_cause() {
        assert_eq!(probe((16, 16), Some((20, 20)), false).problem(), None);
        assert_eq!(probe((17, 16), None, false).problem(), None);
        for (probe, cause) in [
            (probe((0, 0), Some((0, 0)), true), "--cgroup"),
            (probe((0, 0), Some((0, 0)), false), "never ran"),
            (probe((0, 0), Some((16, 16)), false), "PID namespace"),
            (
                probe((16, 3), Some((16, 3)), false),
                "16 arrive and 3 leave",
            ),
        ] {
            let problem = probe.problem().unwrap().to_string();
            assert!(problem.contains(cause), "{problem}");
        }
    }
}

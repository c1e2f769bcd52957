//! Which levers this kernel has, found out by pulling them.

use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::Path,
};

use serde::Serialize;

use super::ShrinkWindow;
use crate::sys::{socket, tcp};

/// What works here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ability {
    /// Uploads can be paced.
    pub pacing: bool,
    /// The windows of downloads can be made smaller while they run (kernel 5.15).
    pub window: bool,
    /// What they were offered before a limit can be taken back (kernel 6.5).
    pub retraction: bool,
    /// It can be set how many segments of an upload are on their way (kernel 5.12).
    pub flight: bool,
}

impl Ability {
    /// Tries them on a connection of our own, over loopback; all but [`Ability::flight`], for which
    /// programs have to be attached.
    pub fn of_this_kernel() -> Self {
        try_out().unwrap_or_else(|error| {
            log::warn!("limits hold by refusing packets only: {error}");
            Self::default()
        })
    }

    /// The levers in words, the policer first.
    pub fn describe(self) -> Vec<&'static str> {
        vec![
            "policer: a hard cap on every packet, both directions, all protocols",
            if self.pacing {
                "pacing: TCP uploads are sent at the pace of the limit, and nothing is refused"
            } else {
                "pacing: not here, so TCP uploads are held by the policer"
            },
            match (self.window, self.retraction) {
                (true, true) => {
                    "window: TCP downloads are asked for at the pace of the limit, and what they were \
                     offered before it is taken back"
                }
                (true, false) => {
                    "window: TCP downloads are asked for at the pace of the limit; what they were \
                     offered before it is refused (kernel 6.5 takes it back)"
                }
                (false, _) => {
                    "window: not on this kernel (5.15 has it), so TCP downloads are held by the policer"
                }
            },
        ]
    }
}

fn try_out() -> io::Result<Ability> {
    const PACE: u64 = 123_456;
    const WINDOW: u32 = 12_345;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let connection = TcpStream::connect(listener.local_addr()?)?;
    // The sockets of others are reached in the same way.
    let fd = std::os::fd::AsRawFd::as_raw_fd(&connection);
    let duplicate = socket::pidfd_open(std::process::id())
        .and_then(|us| socket::pidfd_getfd(us.as_fd(), fd))
        .map_err(|error| io::Error::new(error.source.kind(), error.to_string()))?;
    let pacing = tcp::set_max_pacing_rate(&duplicate, PACE).is_ok()
        && tcp::info(&duplicate).is_ok_and(|info| info.max_pacing_rate == PACE);
    let offers = tcp::info(&duplicate).is_ok_and(|info| info.receive_window != 0);
    let window = tcp::set_window_clamp(&duplicate, WINDOW).is_ok()
        && tcp::info(&duplicate).is_ok_and(|info| info.receive_threshold <= WINDOW);
    Ok(Ability {
        pacing,
        window,
        retraction: window && offers && ShrinkWindow::exists(Path::new("/proc")),
        flight: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_is_new_enough_for_all() {
        let ability = Ability::of_this_kernel();
        assert!(
            ability.pacing && ability.window && ability.retraction,
            "{ability:?}"
        );
    }
}

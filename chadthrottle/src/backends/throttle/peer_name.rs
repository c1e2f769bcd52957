//! The programs that set how many segments of a connection may be on their way.
//!
//! `snd_cwnd_clamp` is no option of sockets: only programs may set it, where the kernel calls them
//! with the socket locked. `getpeername` is such a place (kernel 5.12), and the one that anybody can
//! bring about who has the socket. So user space notes the number on the socket, asks for its other
//! end, and the program sets what is noted.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::Ebpf;
use chadthrottle_common::abi::names;

use super::{
    ThrottleError, kernel_offsets,
    linux_ebpf_utils::{self, AttachConfig, AttachPoint, Attachment},
    manager, maps,
};
use crate::{
    levers::Options,
    sys::bpf::{self, AttachType},
};

/// Where they are attached.
pub const PLACES: [AttachType; 2] = [AttachType::PeerName4, AttachType::PeerName6];

/// Hands them to the kernel.
///
/// # Errors
/// Where the kernel does not take them.
pub fn load(object: &mut Ebpf) -> Result<(), ThrottleError> {
    programs()
        .into_iter()
        .try_for_each(|(name, _)| linux_ebpf_utils::load(object, name).map(drop))
}

/// Attaches them, loaded before.
///
/// # Errors
/// Where that is refused; none is attached then.
pub fn attach(object: &Ebpf, config: &AttachConfig) -> Result<[Attachment; 2], ThrottleError> {
    let [(v4, place4), (v6, place6)] = programs();
    let attach = |name, place| {
        let program = linux_ebpf_utils::loaded(object, name)?;
        linux_ebpf_utils::attach(program, name, place, config)
    };
    Ok([attach(v4, place4)?, attach(v6, place6)?])
}

fn programs() -> [(&'static str, AttachType); 2] {
    let ([v4, v6], [place4, place6]) = (names::PEER_NAME, PLACES);
    [(v4, place4), (v6, place6)]
}

/// They by themselves, with no engine: for putting back what one has left.
#[derive(Debug)]
pub struct Alone {
    /// Notes of their own.
    pub options: Options,
    _links: Vec<OwnedFd>,
    _object: Ebpf,
}

impl Alone {
    /// Attaches them to that cgroup by links, so that they go with this.
    ///
    /// # Errors
    /// Where the kernel does not take them.
    pub fn start(cgroup: &Path) -> Result<Self, ThrottleError> {
        let point = AttachPoint::open(cgroup)?;
        let offsets = kernel_offsets::read(Path::new(kernel_offsets::VMLINUX));
        let mut object = manager::load(offsets)?;
        load(&mut object)?;
        let mut links = Vec::new();
        for (name, place) in programs() {
            let program = linux_ebpf_utils::loaded(&object, name)?;
            let link = bpf::link_create(program.as_fd(), point.as_fd(), place);
            links.push(link.map_err(|error| ThrottleError::Attach {
                program: name,
                cgroup: cgroup.to_owned(),
                place,
                causes: vec![error.to_string()],
            })?);
        }
        Ok(Self {
            options: maps::socket_options(&object)?,
            _links: links,
            _object: object,
        })
    }
}

//! The manager: all programs and maps of one engine, attached together and detached together.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;
use chadthrottle_common::abi::{KernelOffsets, MAX_PROCESSES, TcpOffsets, names};
use log::Log;

use super::{
    ThrottleBackend, ThrottleError,
    download::linux::ebpf::EbpfDownload,
    kernel_offsets::{self, Offsets},
    linux_ebpf_utils::{self, AttachConfig, Attachment},
    maps::Maps,
    passes::Passes,
    self_test,
    upload::linux::ebpf::EbpfUpload,
};
use crate::{
    model::Both,
    sys::{
        bpf::{self, AttachType, ProgramInfo},
        files::limit_reached,
    },
};

/// The object that `cargo xtask build-ebpf` built, embedded.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/ebpf/chadthrottle.bpf.o"
));

/// Programs attached, maps at hand. Dropping it detaches everything.
pub struct ThrottleManager {
    /// The maps.
    pub maps: Maps,
    /// Whether children inherit in the kernel, from their first packet, and exec is told.
    pub sees_processes: bool,
    /// Whether the kernel programs see who uses a socket. Where not, sockets that change hands
    /// are found by looking through /proc.
    pub sees_socket_use: bool,
    sockets: Attachment,
    /// Where the kernel takes them; the levers take them over.
    passes: Option<Passes>,
    connections: Attachment,
    download: EbpfDownload,
    upload: EbpfUpload,
    /// Where the programs write lines for the log: in an object built for that only.
    program_log: Option<EbpfLogger<&'static dyn Log>>,
    /// Links of the programs at tracepoints.
    tracing: Vec<OwnedFd>,
    /// Holds the programs.
    object: Ebpf,
}

impl ThrottleManager {
    /// Loads the object and attaches its programs: all of them, or none and an error.
    pub fn start(config: &AttachConfig) -> Result<Self, ThrottleError> {
        Self::attach(config)
            .map_err(|error| limit_reached(&error).map_or(error, ThrottleError::OutOfFiles))
    }

    fn attach(config: &AttachConfig) -> Result<Self, ThrottleError> {
        let offsets = kernel_offsets::read(Path::new(kernel_offsets::VMLINUX));
        let mut object = load(offsets)?;
        let mut maps = Maps::take(&mut object)?;
        test(&mut object, &maps)?;
        fill_slots(&mut maps)?;

        let sees_processes = offsets.kernel != KernelOffsets::default();
        let kernel = kernel_types();
        let mut tracing = Vec::new();
        if sees_processes {
            for (program, tracepoint) in [
                (names::FORK, c"sched_process_fork"),
                (names::FREE, c"sched_process_free"),
                (names::EXEC, c"sched_process_exec"),
            ] {
                let link =
                    linux_ebpf_utils::attach_raw_tracepoint(&mut object, program, tracepoint)?;
                tracing.push(link);
            }
        }
        // First who makes sockets, then what passes through them: the other way round, a socket
        // made in between would be found by nobody.
        let program = linux_ebpf_utils::load(&mut object, names::SOCK_CREATE)?;
        let place = AttachType::SockCreate;
        let sockets = linux_ebpf_utils::attach(program, names::SOCK_CREATE, place, config)?;
        let download = EbpfDownload::attach(&mut object, config)?;
        let upload = EbpfUpload::attach(&mut object, config)?;
        let kernel = kernel.as_ref();
        let watching = kernel
            .filter(|_| sees_processes)
            .and_then(|kernel| watch_socket_use(&mut object, kernel));
        let sees_socket_use = watching.is_some();
        tracing.extend(watching.into_iter().flatten());
        let passes = kernel
            .filter(|_| offsets.tcp != TcpOffsets::default())
            .and_then(|kernel| {
                let passes = Passes::load(&mut object, kernel, offsets.hears_of_packets);
                passes
                    .inspect_err(|error| {
                        log::info!("limits hold by refusing packets only: {error}");
                    })
                    .ok()
            });
        let program = linux_ebpf_utils::load(&mut object, names::SOCK_OPS)?;
        let place = AttachType::SockOps;
        let connections = linux_ebpf_utils::attach(program, names::SOCK_OPS, place, config)?;
        let program_log = EbpfLogger::init(&mut object).ok();
        Ok(Self {
            program_log,
            maps,
            sees_processes,
            sees_socket_use,
            sockets,
            passes,
            connections,
            download,
            upload,
            tracing,
            object,
        })
    }

    /// `link`, `legacy`, or `mixed` where one program had to take the other way.
    pub fn method(&self) -> &'static str {
        let mut methods = self.attachments().map(Attachment::method);
        let first = self.sockets.method();
        if methods.all(|method| method == first) {
            first
        } else {
            "mixed"
        }
    }

    /// The passes over all sockets, once; `None` where this kernel takes none.
    pub fn take_passes(&mut self) -> Option<Passes> {
        self.passes.take()
    }

    /// Hands on what the programs have written for the log.
    pub fn flush_program_log(&mut self) {
        if let Some(log) = &mut self.program_log {
            log.flush();
        }
    }

    /// Descriptions of the ingress and the egress program, with how often they have run.
    pub fn packet_programs(&self) -> Result<Both<ProgramInfo>, ThrottleError> {
        let info = |name: &'static str| {
            let fd = linux_ebpf_utils::loaded(&self.object, name)?;
            bpf::prog_info(fd.as_fd()).map_err(|source| ThrottleError::ProgramInfo {
                program: name,
                source,
            })
        };
        Ok(Both {
            down: info(names::INGRESS)?,
            up: info(names::EGRESS)?,
        })
    }

    /// Duplicates of all links: whoever has them keeps the programs where they are. What is attached the legacy way
    /// stays without.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn links(&self) -> io::Result<Vec<OwnedFd>> {
        let attached = self.attachments().filter_map(Attachment::link);
        let tracing = self.tracing.iter().map(AsFd::as_fd);
        attached
            .chain(tracing)
            .map(|link| link.try_clone_to_owned())
            .collect()
    }

    fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        [
            &self.sockets,
            &self.connections,
            self.download.attachment(),
            self.upload.attachment(),
        ]
        .into_iter()
    }

    fn attachments_mut(&mut self) -> [&mut Attachment; 4] {
        [
            self.download.attachment_mut(),
            self.upload.attachment_mut(),
            &mut self.connections,
            &mut self.sockets,
        ]
    }

    /// Attaches anew what somebody else has detached, and says of each program what became of it.
    pub fn look_after(&mut self) {
        for attachment in self.attachments_mut() {
            match attachment.look_after() {
                Ok(false) => {}
                Ok(true) => log::warn!(
                    "somebody has detached {}: it is attached again",
                    attachment.name()
                ),
                Err(error) => log::warn!("somebody has detached a program: {error}"),
            }
        }
    }

    /// Detaches everything, and says of each attachment that could not be detached why.
    pub fn stop(&mut self) -> Vec<ThrottleError> {
        self.attachments_mut()
            .into_iter()
            .filter_map(|attachment| attachment.detach().err())
            .collect()
    }
}

/// Whether the policer works as it should.
fn test(object: &mut Ebpf, maps: &Maps) -> Result<(), ThrottleError> {
    let program = linux_ebpf_utils::load(object, names::SELF_TEST)?;
    let rule = maps
        .rules
        .first()
        .ok_or(ThrottleError::Missing(names::RULES))?;
    self_test::run(program.as_fd(), rule)?;
    linux_ebpf_utils::unload_cgroup_skb(object, names::SELF_TEST);
    Ok(())
}

/// The object, with its maps and no program loaded.
fn load(offsets: Offsets) -> Result<Ebpf, ThrottleError> {
    let finds_mptcp = u32::from(offsets.finds_mptcp);
    EbpfLoader::new()
        // We have no CO-RE relocations.
        .btf(None)
        .override_global(names::KERNEL_OFFSETS, &offsets.kernel.words(), true)
        .override_global(names::TCP_OFFSETS, &offsets.tcp.words(), true)
        .override_global(names::FINDS_MPTCP, &finds_mptcp, true)
        .load(&object_bytes()?)
        .map_err(|error| ThrottleError::Object(Box::new(error)))
}

/// The kernel's types, where it tells.
fn kernel_types() -> Option<Btf> {
    Btf::from_sys_fs()
        .inspect_err(|error| log::warn!("{}: {error}", kernel_offsets::VMLINUX))
        .ok()
}

/// Attaches the programs that see who uses a socket, and gives their links: of all, or `None` where the kernel has no
/// such tracepoints (before 6.3).
fn watch_socket_use(object: &mut Ebpf, kernel: &Btf) -> Option<Vec<OwnedFd>> {
    let mut links = Vec::new();
    for (program, tracepoint) in names::SOCKET_USE {
        match linux_ebpf_utils::attach_btf_tracepoint(object, program, tracepoint, kernel) {
            Ok(link) => links.push(link),
            Err(error) => {
                log::warn!(
                    "sockets that change hands are found by looking through /proc only: {error}"
                );
                for (program, _) in names::SOCKET_USE {
                    linux_ebpf_utils::unload_btf_tracepoint(object, program);
                }
                return None;
            }
        }
    }
    for (program, tracepoint) in names::SOCKET_USE_UNDER_WAY {
        match linux_ebpf_utils::attach_btf_tracepoint(object, program, tracepoint, kernel) {
            Ok(link) => links.push(link),
            Err(error) => {
                log::info!("sockets change hands when a call returns, not under way: {error}");
                linux_ebpf_utils::unload_btf_tracepoint(object, program);
            }
        }
    }
    Some(links)
}

/// The embedded object, or in its place the one that a test or a benchmark has just built. What users
/// run takes no other: whoever has a say in its environment would have one in the kernel.
fn object_bytes() -> Result<std::borrow::Cow<'static, [u8]>, ThrottleError> {
    let other = cfg!(any(debug_assertions, feature = "other-object"))
        .then(|| std::env::var_os("CHADTHROTTLE_EBPF_OBJECT"));
    match other.flatten() {
        None => Ok(OBJECT.into()),
        Some(path) => std::fs::read(&path).map(Into::into).map_err(|error| {
            ThrottleError::Object(Box::new(EbpfError::FileError {
                path: path.into(),
                error,
            }))
        }),
    }
}

/// Makes every slot free. The lowest comes off the stack first, so that a scan stays short.
fn fill_slots(maps: &mut Maps) -> Result<(), ThrottleError> {
    for slot in (0..MAX_PROCESSES).rev() {
        maps.free
            .push(slot, 0)
            .map_err(|source| ThrottleError::Map {
                map: names::FREE_SLOTS,
                source,
            })?;
    }
    Ok(())
}

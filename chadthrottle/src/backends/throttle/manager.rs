//! The manager: all programs and maps of one engine, attached together and detached together.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;
use chadthrottle_common::abi::{KernelOffsets, MAX_PROCESSES, names};
use log::Log;

use super::{
    ThrottleBackend, ThrottleError,
    download::linux::ebpf::EbpfDownload,
    kernel_offsets,
    linux_ebpf_utils::{self, AttachConfig, Attachment},
    maps::{self, Maps},
    peer_name, self_test,
    upload::linux::ebpf::EbpfUpload,
    withholding::Withholding,
};
use crate::{
    levers::{Gates, Options, Undoing},
    sys::bpf::{self, AttachType, ProgramInfo},
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
    /// Where the kernel takes them.
    flights: Option<[Attachment; 2]>,
    connections: Attachment,
    download: EbpfDownload,
    upload: EbpfUpload,
    /// Where the programs write lines for the log: in an object built for that only.
    program_log: Option<EbpfLogger<&'static dyn Log>>,
    /// Holds the programs, and the link of the fork tracepoint.
    object: Ebpf,
}

impl ThrottleManager {
    /// Loads the object and attaches its programs: all of them, or none and an error.
    pub fn start(config: &AttachConfig) -> Result<Self, ThrottleError> {
        let mut offsets = kernel_offsets::read(Path::new(kernel_offsets::VMLINUX));
        let mut object = load(offsets)?;
        if offsets.tcp_snd_cwnd_clamp != 0
            && let Err(error) = peer_name::load(&mut object)
        {
            offsets = without_flights(offsets, &error);
            object = load(offsets)?;
        }
        let mut maps = Maps::take(&mut object)?;
        test(&mut object, &maps)?;
        let mut flights = None;
        if offsets.tcp_snd_cwnd_clamp != 0 {
            match peer_name::attach(&object, config) {
                Ok(attachments) => flights = Some(attachments),
                Err(error) => {
                    offsets = without_flights(offsets, &error);
                    object = load(offsets)?;
                    maps = Maps::take(&mut object)?;
                }
            }
        }
        fill_slots(&mut maps)?;

        let sees_processes = offsets != KernelOffsets::default();
        if sees_processes {
            for (program, tracepoint) in [
                (names::FORK, "sched_process_fork"),
                (names::EXEC, "sched_process_exec"),
            ] {
                linux_ebpf_utils::attach_raw_tracepoint(&mut object, program, tracepoint)?;
            }
        }
        // First who makes sockets, then what passes through them: the other way round, a socket
        // made in between would be found by nobody.
        let program = linux_ebpf_utils::load(&mut object, names::SOCK_CREATE)?;
        let place = AttachType::SockCreate;
        let sockets = linux_ebpf_utils::attach(program, names::SOCK_CREATE, place, config)?;
        let download = EbpfDownload::attach(&mut object, config)?;
        let upload = EbpfUpload::attach(&mut object, config)?;
        let sees_socket_use = sees_processes && watch_socket_use(&mut object);
        let program = linux_ebpf_utils::load(&mut object, names::SOCK_OPS)?;
        let place = AttachType::SockOps;
        let connections = linux_ebpf_utils::attach(program, names::SOCK_OPS, place, config)?;
        linux_ebpf_utils::load(&mut object, names::UNDO)?;
        let program_log = EbpfLogger::init(&mut object).ok();
        Ok(Self {
            program_log,
            maps,
            sees_processes,
            sees_socket_use,
            sockets,
            flights,
            connections,
            download,
            upload,
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

    /// The notes on sockets' options.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn socket_options(&self) -> Result<Options, ThrottleError> {
        let options = maps::socket_options(&self.object)?;
        let Some(flights) = &self.flights else {
            return Ok(options);
        };
        let links = flights.iter().filter_map(Attachment::link);
        let links: io::Result<Vec<OwnedFd>> = links.map(|it| it.try_clone_to_owned()).collect();
        Ok(
            options.with_flights(links.map_err(|error| ThrottleError::Map {
                map: names::SOCKET_OPTIONS,
                source: error.into(),
            })?),
        )
    }

    /// Whether it can be set how many segments of a connection may be on their way (kernel 5.12).
    pub fn sets_flights(&self) -> bool {
        self.flights.is_some()
    }

    /// The gates of sockets.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn gates(&self) -> Result<Gates, ThrottleError> {
        maps::gates(&self.object)
    }

    /// What has senders forget that they were slow after a limit.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn undoing(&self, config: &AttachConfig) -> Result<Undoing, ThrottleError> {
        let program = linux_ebpf_utils::loaded(&self.object, names::UNDO)?;
        let program = program.try_clone().map_err(|source| ThrottleError::Map {
            map: names::UNDOS,
            source: source.into(),
        })?;
        maps::undoing(&self.object, Withholding::new(program, config.clone()))
    }

    /// Hands on what the programs have written for the log.
    pub fn flush_program_log(&mut self) {
        if let Some(log) = &mut self.program_log {
            log.flush();
        }
    }

    /// Descriptions of the ingress and the egress program, with how often they have run.
    pub fn packet_programs(&self) -> Result<[ProgramInfo; 2], ThrottleError> {
        let info = |name: &'static str| {
            let fd = linux_ebpf_utils::loaded(&self.object, name)?;
            bpf::prog_info(fd.as_fd()).map_err(|source| ThrottleError::ProgramInfo {
                program: name,
                source,
            })
        };
        Ok([info(names::INGRESS)?, info(names::EGRESS)?])
    }

    fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        let always = [
            &self.sockets,
            &self.connections,
            self.download.attachment(),
            self.upload.attachment(),
        ];
        always.into_iter().chain(self.flights.iter().flatten())
    }

    /// Detaches everything, and says of each attachment that could not be detached why.
    pub fn stop(&mut self) -> Vec<ThrottleError> {
        let always = [
            self.download.attachment_mut(),
            self.upload.attachment_mut(),
            &mut self.connections,
            &mut self.sockets,
        ];
        always
            .into_iter()
            .chain(self.flights.iter_mut().flatten())
            .filter_map(|attachment| attachment.detach().err())
            .collect()
    }
}

/// Offsets that keep the other programs from setting what nobody could put back.
fn without_flights(offsets: KernelOffsets, why: &ThrottleError) -> KernelOffsets {
    log::info!("congestion windows stay as they are: {why}");
    KernelOffsets {
        tcp_snd_cwnd_clamp: 0,
        ..offsets
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
pub(super) fn load(offsets: KernelOffsets) -> Result<Ebpf, ThrottleError> {
    EbpfLoader::new()
        // We have no CO-RE relocations.
        .btf(None)
        .override_global(names::KERNEL_OFFSETS, &offsets.words(), true)
        .load(&object_bytes()?)
        .map_err(|error| ThrottleError::Object(Box::new(error)))
}

/// Attaches the programs that see who uses a socket: all, or none where the kernel has no such
/// tracepoints (before 6.3).
fn watch_socket_use(object: &mut Ebpf) -> bool {
    let kernel = match Btf::from_sys_fs() {
        Ok(kernel) => kernel,
        Err(error) => {
            log::warn!("{}: {error}", kernel_offsets::VMLINUX);
            return false;
        }
    };
    for (program, tracepoint) in names::SOCKET_USE {
        if let Err(error) =
            linux_ebpf_utils::attach_btf_tracepoint(object, program, tracepoint, &kernel)
        {
            log::warn!(
                "sockets that change hands are found by looking through /proc only: {error}"
            );
            for (program, _) in names::SOCKET_USE {
                linux_ebpf_utils::unload_btf_tracepoint(object, program);
            }
            return false;
        }
    }
    true
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

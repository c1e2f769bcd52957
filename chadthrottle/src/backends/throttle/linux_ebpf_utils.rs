//! Loading, attaching and detaching programs: what both directions share.
//!
//! Links first, since a link goes with its descriptor; on any failure of the link call the legacy
//! way, of which every attachment is recorded with what `BPF_PROG_DETACH` needs. aya loads; it
//! does not attach, because it chooses by kernel version and has no fall-back.

use std::{
    ffi::CStr,
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, CgroupSkb, Program, ProgramError, ProgramFd, RawTracePoint},
};

pub use super::cgroup::AttachPoint;
use super::{AttachMode, ThrottleError};
use crate::sys::{
    SyscallError,
    bpf::{self, AttachType, ProgramInfo},
    files::limit_reached,
};

/// Is told of every legacy attachment before it is made and after it is gone, so that somebody
/// else can detach it should we not come to it.
pub trait LegacyLedger: fmt::Debug + Send + Sync {
    /// It is about to be made. When this returns, its record is safe.
    ///
    /// # Errors
    /// Where it is not; nothing must be attached then.
    fn attaching(&self, attachment: &LegacyAttachment) -> Result<(), ThrottleError>;
    /// It is not there any more, or never was.
    fn gone(&self, attachment: &LegacyAttachment);
    /// Sees to it that records and whoever would detach are still there. Called now and then.
    fn look_after(&self);
}

/// A legacy attachment, with all that `BPF_PROG_DETACH` needs.
#[derive(Debug)]
pub struct LegacyAttachment {
    /// The cgroup.
    pub point: AttachPoint,
    /// Where in the cgroup.
    pub place: AttachType,
    /// What the program is called.
    pub program: ProgramInfo,
    /// The program's descriptor, without which the kernel does not detach.
    pub fd: OwnedFd,
}

/// A program of ours on a cgroup. Detached when dropped, at the latest.
#[derive(Debug)]
pub struct Attachment {
    held: Option<Held>,
    program: OwnedFd,
    name: &'static str,
    place: AttachType,
    config: AttachConfig,
}

/// What keeps the program attached, and what detaching it needs.
#[derive(Debug)]
enum Held {
    /// Closing it detaches.
    Link(OwnedFd),
    /// Stays without us.
    Legacy(LegacyAttachment, Arc<dyn LegacyLedger>),
}

impl Attachment {
    /// The program's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `link` or `legacy`; `none` once detached.
    pub fn method(&self) -> &'static str {
        match self.held {
            Some(Held::Link(_)) => "link",
            Some(Held::Legacy(..)) => "legacy",
            None => "none",
        }
    }

    /// The link, where it is one: who has a duplicate keeps the program attached.
    pub fn link(&self) -> Option<BorrowedFd<'_>> {
        match &self.held {
            Some(Held::Link(link)) => Some(link.as_fd()),
            Some(Held::Legacy(..)) | None => None,
        }
    }

    /// Attaches anew where somebody else has detached it, and says whether that was so. Where the
    /// cgroup is gone, there is nothing to do.
    ///
    /// # Errors
    /// Where the kernel refuses; the next call tries again.
    pub fn look_after(&mut self) -> Result<bool, ThrottleError> {
        let Some(held) = &self.held else {
            return Ok(false);
        };
        let point = &self.config.point;
        let id = bpf::prog_info(self.program.as_fd()).map(|info| info.id);
        let (Ok(attached), Ok(id)) = (bpf::prog_query(point.as_fd(), self.place), id) else {
            return Ok(false);
        };
        if attached.programs.contains(&id) {
            return Ok(false);
        }
        if let Held::Legacy(attachment, ledger) = held {
            ledger.gone(attachment);
        }
        let held = hold(self.program.as_fd(), self.name, self.place, &self.config)?;
        self.held = Some(held);
        Ok(true)
    }

    /// Detaches, and looks whether it is gone. Once; later calls do nothing.
    ///
    /// # Errors
    /// Where the kernel refuses twice, or still lists the program. A legacy attachment is kept
    /// then, in the ledger too, so that the next call tries again.
    pub fn detach(&mut self) -> Result<(), ThrottleError> {
        match self.held.take() {
            None => Ok(()),
            Some(Held::Link(link)) => {
                drop(link);
                Ok(())
            }
            Some(Held::Legacy(attachment, ledger)) => {
                let result = attachment.detach().or_else(|error| {
                    log::warn!("{error}; trying once more");
                    attachment.detach()
                });
                match result {
                    Ok(()) => ledger.gone(&attachment),
                    Err(_) => self.held = Some(Held::Legacy(attachment, ledger)),
                }
                result
            }
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Err(error) = self.detach() {
            log::error!("{error}");
        }
    }
}

impl LegacyAttachment {
    /// Detaches it and confirms that it is gone.
    ///
    /// # Errors
    /// As [`detach_legacy`].
    pub fn detach(&self) -> Result<(), ThrottleError> {
        detach_legacy(&self.fd, &self.program, &self.point, self.place)
    }
}

/// Detaches one legacy attachment and confirms with `BPF_PROG_QUERY` that it is gone.
///
/// A program that is not attached any more, and a cgroup that is gone, are as good.
///
/// # Errors
/// [`ThrottleError::Detach`] and [`ThrottleError::StillAttached`].
pub fn detach_legacy(
    program: impl AsFd,
    info: &ProgramInfo,
    point: &AttachPoint,
    place: AttachType,
) -> Result<(), ThrottleError> {
    let failed = |source: SyscallError| ThrottleError::Detach {
        id: info.id,
        cgroup: point.path().to_owned(),
        place,
        source,
    };
    match bpf::prog_detach(program.as_fd(), point.as_fd(), place) {
        Ok(()) => {}
        Err(_) if point.is_removed() => return Ok(()),
        // Not attached any more, or attached by a link: the query tells which.
        Err(error) if error.errno() == libc::ENOENT => {}
        Err(error) => return Err(failed(error)),
    }
    let attached = match bpf::prog_query(point.as_fd(), place) {
        Ok(attached) => attached,
        Err(_) if point.is_removed() => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if attached.programs.contains(&info.id) {
        return Err(ThrottleError::StillAttached {
            id: info.id,
            cgroup: point.path().to_owned(),
            place,
        });
    }
    Ok(())
}

/// Where and how to attach.
#[derive(Clone, Debug)]
pub struct AttachConfig {
    /// The cgroup.
    pub point: AttachPoint,
    /// Link or legacy.
    pub mode: AttachMode,
    /// Who keeps record of legacy attachments.
    pub ledger: Arc<dyn LegacyLedger>,
}

/// Attaches a loaded program in the way that the mode says.
///
/// # Errors
/// [`ThrottleError::Attach`] with what each way said, or [`ThrottleError::Exclusive`] where
/// somebody else holds the place for himself. Nothing is attached then.
pub fn attach(
    program: &ProgramFd,
    name: &'static str,
    place: AttachType,
    config: &AttachConfig,
) -> Result<Attachment, ThrottleError> {
    let program = program.as_fd().try_clone_to_owned();
    let program = program.map_err(|error| {
        let out_of_files = limit_reached(&error).map(ThrottleError::OutOfFiles);
        out_of_files.unwrap_or_else(|| ThrottleError::Attach {
            program: name,
            cgroup: config.point.path().to_owned(),
            place,
            causes: vec![format!("dup: {error}")],
        })
    })?;
    let held = hold(program.as_fd(), name, place, config)?;
    Ok(Attachment {
        held: Some(held),
        program,
        name,
        place,
        config: config.clone(),
    })
}

fn hold(
    program: BorrowedFd<'_>,
    name: &'static str,
    place: AttachType,
    config: &AttachConfig,
) -> Result<Held, ThrottleError> {
    let AttachConfig {
        point,
        mode,
        ledger,
    } = config;
    let mut causes = Vec::new();
    let refused = |error: &SyscallError| {
        let out_of_files = limit_reached(error).map(ThrottleError::OutOfFiles);
        let why = out_of_files.or_else(|| exclusive(error, name, point, place));
        why.map_or(Ok(()), Err)
    };
    if *mode != AttachMode::Legacy {
        match bpf::link_create(program, point.as_fd(), place) {
            Ok(link) => return Ok(Held::Link(link)),
            Err(error) => {
                refused(&error)?;
                log::info!("{name}: {error}");
                causes.push(error.to_string());
            }
        }
    }
    if *mode != AttachMode::Link {
        match attach_legacy(program, point, place, ledger)? {
            Ok(attachment) => return Ok(Held::Legacy(attachment, Arc::clone(ledger))),
            Err(error) => {
                refused(&error)?;
                causes.push(error.to_string());
            }
        }
    }
    let cgroup = point.path().to_owned();
    Err(ThrottleError::Attach {
        program: name,
        cgroup,
        place,
        causes,
    })
}

/// Attaches the legacy way: the record first, then the call. The outer error is the record's, the
/// inner one the call's.
fn attach_legacy(
    program: BorrowedFd<'_>,
    point: &AttachPoint,
    place: AttachType,
    ledger: &Arc<dyn LegacyLedger>,
) -> Result<Result<LegacyAttachment, SyscallError>, ThrottleError> {
    let info = match bpf::prog_info(program) {
        Ok(info) => info,
        Err(error) => return Ok(Err(error)),
    };
    let fd = match program.try_clone_to_owned() {
        Ok(fd) => fd,
        Err(source) => {
            return Ok(Err(SyscallError {
                call: "dup",
                source,
            }));
        }
    };
    let attachment = LegacyAttachment {
        point: point.clone(),
        place,
        program: info,
        fd,
    };
    ledger.attaching(&attachment)?;
    match bpf::prog_attach(program, point.as_fd(), place) {
        Ok(()) => Ok(Ok(attachment)),
        Err(error) => {
            ledger.gone(&attachment);
            Ok(Err(error))
        }
    }
}

/// Whether the place is held without MULTI, which is what EPERM means at attach
/// (`hierarchy_allows_attach` and `__cgroup_bpf_attach`), and by whom: here, or above.
fn exclusive(
    error: &SyscallError,
    program: &'static str,
    point: &AttachPoint,
    place: AttachType,
) -> Option<ThrottleError> {
    if error.errno() != libc::EPERM {
        return None;
    }
    point.path().ancestors().find_map(|path| {
        let holder = AttachPoint::open(path).ok()?;
        let attached = bpf::prog_query(holder.as_fd(), place).ok()?;
        let id = *attached.programs.first()?;
        (attached.flags & bpf::F_ALLOW_MULTI == 0).then(|| ThrottleError::Exclusive {
            program,
            cgroup: path.to_owned(),
            place,
            id,
            name: program_name(id),
        })
    })
}

/// The name of somebody's program, safe to print.
fn program_name(id: u32) -> String {
    let name = bpf::prog_by_id(id)
        .and_then(|program| bpf::prog_info(program.as_fd()))
        .map(|info| info.name)
        .unwrap_or_default();
    crate::text::escape(&name).into_owned()
}

/// Hands a program of those that are attached to cgroups to the kernel.
///
/// # Errors
/// [`ThrottleError::Load`] where the kernel does not take it.
pub fn load<'a>(object: &'a mut Ebpf, name: &'static str) -> Result<&'a ProgramFd, ThrottleError> {
    let program = object
        .program_mut(name)
        .ok_or(ThrottleError::Missing(name))?;
    match program {
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
    .map_err(|error| refused(name, error))?;
    loaded(object, name)
}

/// Unloads a `cgroup_skb` program, which must not be attached.
pub fn unload_cgroup_skb(object: &mut Ebpf, name: &'static str) {
    if let Ok(program) = find::<CgroupSkb>(object, name) {
        // Not loaded at all is as good.
        let _ = program.unload();
    }
}

/// A program that is loaded.
pub fn loaded<'a>(object: &'a Ebpf, name: &'static str) -> Result<&'a ProgramFd, ThrottleError> {
    object
        .program(name)
        .ok_or(ThrottleError::Missing(name))?
        .fd()
        .map_err(|error| refused(name, error))
}

/// Loads and attaches a raw tracepoint program, and gives its link: it goes with us however we end.
pub fn attach_raw_tracepoint(
    object: &mut Ebpf,
    name: &'static str,
    tracepoint: &'static CStr,
) -> Result<OwnedFd, ThrottleError> {
    let program: &mut RawTracePoint = find(object, name)?;
    program.load().map_err(|error| refused(name, error))?;
    trace(object, name, Some(tracepoint))
}

/// Loads and attaches a program whose tracepoint's arguments the verifier knows by the kernel's
/// BTF, and gives its link, as with raw tracepoints.
///
/// # Errors
/// Where the kernel has no such tracepoint.
pub fn attach_btf_tracepoint(
    object: &mut Ebpf,
    name: &'static str,
    tracepoint: &str,
    kernel: &Btf,
) -> Result<OwnedFd, ThrottleError> {
    let program: &mut BtfTracePoint = find(object, name)?;
    program
        .load(tracepoint, kernel)
        .map_err(|error| refused(name, error))?;
    trace(object, name, None)
}

fn trace(
    object: &Ebpf,
    name: &'static str,
    tracepoint: Option<&CStr>,
) -> Result<OwnedFd, ThrottleError> {
    let program = loaded(object, name)?;
    bpf::tracepoint_link(program.as_fd(), tracepoint).map_err(|source| ThrottleError::Trace {
        program: name,
        source,
    })
}

/// Unloads such a program, if it is loaded; it goes when its link does.
pub fn unload_btf_tracepoint(object: &mut Ebpf, name: &'static str) {
    if let Ok(program) = find::<BtfTracePoint>(object, name) {
        // Not loaded at all is as good.
        let _ = program.unload();
    }
}

/// A program of the object, by its kind.
///
/// # Errors
/// Where it has none of that name and kind.
pub(super) fn find<'a, P>(
    object: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut P, ThrottleError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    object
        .program_mut(name)
        .ok_or(ThrottleError::Missing(name))?
        .try_into()
        .map_err(|error| refused(name, error))
}

/// What the kernel said of a program.
pub(super) fn refused(program: &'static str, error: ProgramError) -> ThrottleError {
    ThrottleError::Load {
        program,
        source: Box::new(error),
    }
}

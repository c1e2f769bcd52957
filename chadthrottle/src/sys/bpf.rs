//! The commands of bpf(2) that attach, detach and look, for cgroups.
//!
//! Each attribute struct has the fields that the oldest kernel we run on (5.10) knows, and no
//! more: a kernel refuses sizes with unknown bytes that are not zero (include/uapi/linux/bpf.h,
//! `union bpf_attr`).

use std::{
    ffi::CStr,
    fmt,
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::SyscallError;

/// Where in a cgroup a program is attached (`enum bpf_attach_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum AttachType {
    /// Packets that arrive.
    Ingress = 0,
    /// Packets being sent.
    Egress = 1,
    /// A socket is made.
    SockCreate = 2,
    /// Something becomes of a TCP connection.
    SockOps = 3,
}

impl AttachType {
    /// All that we use.
    pub const ALL: [Self; 4] = [Self::Ingress, Self::Egress, Self::SockCreate, Self::SockOps];

    /// The name that bpftool has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "cgroup_inet_ingress",
            Self::Egress => "cgroup_inet_egress",
            Self::SockCreate => "cgroup_inet_sock_create",
            Self::SockOps => "cgroup_sock_ops",
        }
    }
}

impl fmt::Display for AttachType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Several programs may be attached to the cgroup beside each other.
pub const F_ALLOW_MULTI: u32 = 2;

/// An entry of a map is written whether or not there is one (`BPF_ANY`, include/uapi/linux/bpf.h).
pub const ANY: u64 = 0;

/// It is written only where there is none (`BPF_NOEXIST`).
pub const NOEXIST: u64 = 1;

const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_TEST_RUN: u32 = 10;
const PROG_GET_NEXT_ID: u32 = 11;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const RAW_TRACEPOINT_OPEN: u32 = 17;
const LINK_CREATE: u32 = 28;
const ENABLE_STATS: u32 = 32;
const ITER_CREATE: u32 = 33;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;

/// A program as the kernel describes it (`struct bpf_prog_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Number of the program since boot.
    pub id: u32,
    /// Hash of its instructions.
    pub tag: [u8; 8],
    /// At most 15 bytes; other people's may hold anything.
    pub name: String,
    /// How often it has run while statistics were on (kernel 5.1).
    pub run_count: u64,
}

impl ProgramInfo {
    /// The tag as bpftool prints it.
    pub fn tag_hex(&self) -> String {
        self.tag.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What is attached to one cgroup at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// 0 (exclusive, or nothing attached), `BPF_F_ALLOW_OVERRIDE` (1) or [`F_ALLOW_MULTI`].
    pub flags: u32,
    /// Program ids in the order in which they run.
    pub programs: Vec<u32>,
}

/// Attaches by a link, which goes when the descriptor goes. Kernel 5.7.
///
/// Flags are 0: anything else is EINVAL, and a link is always MULTI (`cgroup_bpf_link_attach`).
pub fn link_create(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    place: AttachType,
) -> Result<OwnedFd, SyscallError> {
    link("bpf(BPF_LINK_CREATE)", program, raw(cgroup), place as u32)
}

/// Makes an iterator program's link. Kernel 5.8.
pub fn iterator_link(program: BorrowedFd<'_>) -> Result<OwnedFd, SyscallError> {
    /// `BPF_TRACE_ITER`; it has no target.
    const TRACE_ITER: u32 = 28;
    link(
        "bpf(BPF_LINK_CREATE) of an iterator",
        program,
        0,
        TRACE_ITER,
    )
}

fn link(
    call: &'static str,
    program: BorrowedFd<'_>,
    target_fd: u32,
    attach_type: u32,
) -> Result<OwnedFd, SyscallError> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = Attr {
        prog_fd: raw(program),
        target_fd,
        attach_type,
        flags: 0,
    };
    let fd = bpf(call, LINK_CREATE, &mut attr)?;
    Ok(owned(fd))
}

/// Attaches to a raw tracepoint, or, without its name, to the one that the program was loaded for by the kernel's BTF.
/// It goes when the last descriptor of it goes. Kernel 4.17 and 5.5 (`bpf_raw_tracepoint_open`).
pub fn tracepoint_link(
    program: BorrowedFd<'_>,
    tracepoint: Option<&CStr>,
) -> Result<OwnedFd, SyscallError> {
    #[repr(C)]
    struct Attr {
        name: u64,
        prog_fd: u32,
        padding: u32,
    }
    let mut attr = Attr {
        name: tracepoint.map_or(0, |name| name.as_ptr().addr() as u64),
        prog_fd: raw(program),
        padding: 0,
    };
    let call = "bpf(BPF_RAW_TRACEPOINT_OPEN)";
    bpf(call, RAW_TRACEPOINT_OPEN, &mut attr).map(owned)
}

/// Makes an iterator of such a link: reading it runs the program over all objects there are. Kernel 5.8.
pub fn iterator(link: BorrowedFd<'_>) -> Result<File, SyscallError> {
    #[repr(C)]
    struct Attr {
        link_fd: u32,
        flags: u32,
    }
    let mut attr = Attr {
        link_fd: raw(link),
        flags: 0,
    };
    let fd = bpf("bpf(BPF_ITER_CREATE)", ITER_CREATE, &mut attr)?;
    Ok(owned(fd).into())
}

/// Fields of `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct PathAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Pins a link at a path of the BPF file system, where it stays without us. Kernel 5.8.
pub fn pin(link: BorrowedFd<'_>, path: &CStr) -> Result<(), SyscallError> {
    let mut attr = PathAttr {
        pathname: path.as_ptr().addr() as u64,
        bpf_fd: raw(link),
        file_flags: 0,
    };
    bpf("bpf(BPF_OBJ_PIN)", OBJ_PIN, &mut attr).map(drop)
}

/// What is pinned at that path.
pub fn pinned(path: &CStr) -> Result<OwnedFd, SyscallError> {
    let mut attr = PathAttr {
        pathname: path.as_ptr().addr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    bpf("bpf(BPF_OBJ_GET)", OBJ_GET, &mut attr).map(owned)
}

/// Fields of `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Attaches the legacy way, beside what is there: it stays until somebody detaches it.
pub fn prog_attach(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    place: AttachType,
) -> Result<(), SyscallError> {
    let mut attr = AttachAttr {
        target_fd: raw(cgroup),
        attach_bpf_fd: raw(program),
        attach_type: place as u32,
        attach_flags: F_ALLOW_MULTI,
    };
    bpf("bpf(BPF_PROG_ATTACH)", PROG_ATTACH, &mut attr).map(drop)
}

/// Detaches one legacy attachment.
///
/// Under MULTI the kernel wants the program's descriptor and no flag, else EINVAL; ENOENT is a
/// program that is not attached, or attached by a link (`__cgroup_bpf_detach`).
pub fn prog_detach(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    place: AttachType,
) -> Result<(), SyscallError> {
    let mut attr = AttachAttr {
        target_fd: raw(cgroup),
        attach_bpf_fd: raw(program),
        attach_type: place as u32,
        attach_flags: 0,
    };
    bpf("bpf(BPF_PROG_DETACH)", PROG_DETACH, &mut attr).map(drop)
}

/// What is attached to this cgroup itself, by link or legacy.
pub fn prog_query(cgroup: BorrowedFd<'_>, place: AttachType) -> Result<Attached, SyscallError> {
    #[repr(C)]
    struct Attr {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        padding: u32,
    }
    // 64 is the kernel's bound for one cgroup and place (`BPF_CGROUP_MAX_PROGS`).
    let mut ids = vec![0u32; 64];
    loop {
        let mut attr = Attr {
            target_fd: raw(cgroup),
            attach_type: place as u32,
            query_flags: 0,
            attach_flags: 0,
            prog_ids: ids.as_mut_ptr() as u64,
            prog_cnt: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            padding: 0,
        };
        match bpf("bpf(BPF_PROG_QUERY)", PROG_QUERY, &mut attr) {
            Ok(_) => {
                ids.truncate(attr.prog_cnt as usize);
                return Ok(Attached {
                    flags: attr.attach_flags,
                    programs: ids,
                });
            }
            Err(error) if error.errno() == libc::ENOSPC && attr.prog_cnt as usize > ids.len() => {
                ids.resize(attr.prog_cnt as usize, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Fields of the commands that go from ids to descriptors or to the next id.
#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// A descriptor of the program with that id. Needs CAP_SYS_ADMIN.
pub fn prog_by_id(id: u32) -> Result<OwnedFd, SyscallError> {
    let mut attr = IdAttr {
        id,
        next_id: 0,
        open_flags: 0,
    };
    let fd = bpf("bpf(BPF_PROG_GET_FD_BY_ID)", PROG_GET_FD_BY_ID, &mut attr)?;
    Ok(owned(fd))
}

/// The ids of all programs that are loaded now. Needs CAP_SYS_ADMIN.
pub fn prog_ids() -> Result<Vec<u32>, SyscallError> {
    let mut ids = Vec::new();
    loop {
        let id = ids.last().copied().unwrap_or(0);
        let mut attr = IdAttr {
            id,
            next_id: 0,
            open_flags: 0,
        };
        match bpf("bpf(BPF_PROG_GET_NEXT_ID)", PROG_GET_NEXT_ID, &mut attr) {
            Ok(_) => ids.push(attr.next_id),
            Err(error) if error.errno() == libc::ENOENT => return Ok(ids),
            Err(error) => return Err(error),
        }
    }
}

/// Describes a program.
pub fn prog_info(program: BorrowedFd<'_>) -> Result<ProgramInfo, SyscallError> {
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        tag: [u8; 8],
        jited_prog_len: u32,
        xlated_prog_len: u32,
        jited_prog_insns: u64,
        xlated_prog_insns: u64,
        load_time: u64,
        created_by_uid: u32,
        nr_map_ids: u32,
        map_ids: u64,
        name: [u8; 16],
        ifindex: u32,
        gpl_compatible: u32,
        netns_dev: u64,
        netns_ino: u64,
        nr_jited_ksyms: u32,
        nr_jited_func_lens: u32,
        jited_ksyms: u64,
        jited_func_lens: u64,
        btf_id: u32,
        func_info_rec_size: u32,
        func_info: u64,
        nr_func_info: u32,
        nr_line_info: u32,
        line_info: u64,
        jited_line_info: u64,
        nr_jited_line_info: u32,
        line_info_rec_size: u32,
        jited_line_info_rec_size: u32,
        nr_prog_tags: u32,
        prog_tags: u64,
        run_time_ns: u64,
        run_cnt: u64,
    }
    #[repr(C)]
    struct Attr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = Info::default();
    let mut attr = Attr {
        bpf_fd: raw(program),
        info_len: size_of::<Info>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf("bpf(BPF_OBJ_GET_INFO_BY_FD)", OBJ_GET_INFO_BY_FD, &mut attr)?;
    let name = info
        .name
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    Ok(ProgramInfo {
        id: info.id,
        tag: info.tag,
        name: String::from_utf8_lossy(name).into_owned(),
        run_count: info.run_cnt,
    })
}

/// Runs a program on that packet, which begins with an Ethernet header, and gives what it
/// returns. For cgroup_skb: kernel 5.0.
pub fn prog_test_run(program: BorrowedFd<'_>, packet: &[u8]) -> Result<u32, SyscallError> {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
    }
    let mut attr = Attr {
        prog_fd: raw(program),
        data_size_in: packet.len() as u32,
        data_in: packet.as_ptr() as u64,
        ..Attr::default()
    };
    bpf("bpf(BPF_PROG_TEST_RUN)", PROG_TEST_RUN, &mut attr)?;
    Ok(attr.retval)
}

/// Counts the runs of all programs until the descriptor is closed. Kernel 5.8.
pub fn enable_stats() -> Result<OwnedFd, SyscallError> {
    #[repr(C)]
    struct Attr {
        kind: u32,
    }
    const RUN_TIME: u32 = 0;
    let mut attr = Attr { kind: RUN_TIME };
    let fd = bpf("bpf(BPF_ENABLE_STATS)", ENABLE_STATS, &mut attr)?;
    Ok(owned(fd))
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_fd().as_raw_fd().cast_unsigned()
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn bpf<A>(call: &'static str, command: u32, attr: &mut A) -> Result<i32, SyscallError> {
    // SAFETY: `attr` is a live `repr(C)` struct of the size given. The pointers that some hold go
    // to buffers that outlive the call, with their lengths beside them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<A>(),
        )
    };
    i32::try_from(result)
        .ok()
        .filter(|result| *result >= 0)
        .ok_or_else(|| SyscallError::last(call))
}

//! The maps' keys and values: the contract between the kernel programs and user space.
//!
//! Everything is `repr(C)`. What both sides write while the other reads is atomic; the arrays are
//! mapped into user space (`BPF_F_MMAPABLE`), which reads and writes them without a system call.

use crate::{connection::Connection, policer::Bucket, sys::Shared};

/// How many processes with sockets can be told apart at once.
pub const MAX_PROCESSES: u32 = 65_536;
/// How many calls of exec are kept until user space has looked; of more, the oldest are lost.
pub const MAX_EXECS: u32 = 4_096;
/// How many limits can be set at once, counting rule 0, which is "no limit".
pub const MAX_RULES: u32 = 4_096;
/// How many processes can have inherited a limit and not yet made a socket.
pub const MAX_HEIRS: u32 = 65_536;
/// How many patterns the kernel programs look through.
pub const MAX_PATTERNS: u32 = 32;

/// The unit of start times, in nanoseconds: field 22 of /proc/PID/stat counts `start_boottime`
/// in 1/100 s (`USER_HZ`).
pub const TICK_NS: u64 = 10_000_000;

/// Names of programs and maps, as the kernel shows them (at most 15 characters).
pub mod names {
    /// What the name of every program of ours starts with.
    pub const PREFIX: &str = "chadthrottle_";
    /// `cgroup_skb/ingress`: counts and polices what arrives.
    pub const INGRESS: &str = "chadthrottle_in";
    /// `cgroup_skb/egress`: counts and polices what is sent.
    pub const EGRESS: &str = "chadthrottle_eg";
    /// `cgroup_skb/egress`, never attached: the policer by itself, for the self-test.
    pub const SELF_TEST: &str = "chadthrottle_st";
    /// `cgroup/sock_create`: notes who made a socket.
    pub const SOCK_CREATE: &str = "chadthrottle_sc";
    /// `raw_tracepoint/sched_process_fork`: hands a rule down to children.
    pub const FORK: &str = "chadthrottle_fk";
    /// `raw_tracepoint/sched_process_free`: forgets those that have made no socket.
    pub const FREE: &str = "chadthrottle_fr";
    /// `sockops`: holds new connections of a limited process back from their first segment.
    pub const SOCK_OPS: &str = "chadthrottle_so";
    /// `iter/tcp` (kernel 5.15): holds connections that were there before their limit, and puts back
    /// those that have none any more.
    pub const HOLD: &str = "chadthrottle_ho";
    /// `iter/tcp` (kernel 5.15): puts every connection back to what it was.
    pub const PUT_BACK: &str = "chadthrottle_pb";
    /// `raw_tracepoint/sched_process_exec`: tells who has become another program.
    pub const EXEC: &str = "chadthrottle_ex";
    /// `tp_btf` programs, each with its tracepoint (kernel 6.3): who uses a socket.
    pub const SOCKET_USE: [(&str, &str); 2] = [
        ("chadthrottle_tx", "sock_send_length"),
        ("chadthrottle_rx", "sock_recv_length"),
    ];
    /// The same in the middle of a call, each where the kernel has it: reading, splicing included
    /// (4.15), and sending (6.16).
    pub const SOCKET_USE_UNDER_WAY: [(&str, &str); 2] = [
        ("chadthrottle_ru", "tcp_rcv_space_adjust"),
        ("chadthrottle_tu", "tcp_sendmsg_locked"),
    ];

    /// Socket to owner, `BPF_MAP_TYPE_SK_STORAGE` of [`crate::ownership::Note`].
    pub const OWNERS: &str = "chad_owners";
    /// Socket to what is known of a limited connection, `BPF_MAP_TYPE_SK_STORAGE` of
    /// [`crate::connection::Connection`].
    pub const CONNECTIONS: &str = "chad_conns";
    /// One word: whether levers may be set.
    pub const LEVERS: &str = "chad_levers";
    /// Thread-group id to slot, hash of `u32` to [`crate::ownership::Owner`].
    pub const PROCESSES: &str = "chad_processes";
    /// Thread-group id to what a process without a slot has inherited, hash of `u32` to
    /// [`crate::ownership::Heir`].
    pub const HEIRS: &str = "chad_heirs";
    /// Which processes a limit takes in when they make a socket, mapped array of
    /// [`crate::ownership::Pattern`].
    pub const PATTERNS: &str = "chad_patterns";
    /// How many slots are in use, and by whom ([`crate::shares`]), mapped array of words.
    pub const SHARES: &str = "chad_shares";
    /// Free slots, stack of `u32`.
    pub const FREE_SLOTS: &str = "chad_free";
    /// Thread-group ids that have called exec, oldest first, queue of `u32`.
    pub const EXECS: &str = "chad_execs";
    /// One [`super::ProcessSlot`] a process, mapped array.
    pub const SLOTS: &str = "chad_slots";
    /// One [`super::Rule`] a limit, mapped array.
    pub const RULES: &str = "chad_rules";
    /// One [`super::Totals`] a CPU.
    pub const TOTALS: &str = "chad_totals";

    /// [`super::KernelOffsets`], filled in before loading.
    pub const KERNEL_OFFSETS: &str = "KERNEL_OFFSETS";
    /// [`super::TcpOffsets`], filled in before loading.
    pub const TCP_OFFSETS: &str = "TCP_OFFSETS";
    /// `u32`, not 0 where the kernel has `bpf_skc_to_mptcp_sock` (5.19). By itself, since verifiers
    /// must see that it is constant: what it guards is unknown to older kernels.
    pub const FINDS_MPTCP: &str = "FINDS_MPTCP";
}

/// Counters of one process in one direction, with its rule. One cache line.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Meter {
    /// Goes up when the slot is freed, which makes every [`crate::ownership::Owner`] that points here stale.
    pub generation: Shared,
    /// [`crate::ownership::RuleId`] of the limit that the process is under; 0: none.
    pub rule: Shared,
    /// IP bytes that passed, loopback aside, as on the wire: the segments of an aggregate count
    /// with a header each.
    pub bytes: Shared,
    /// IP bytes refused.
    pub dropped_bytes: Shared,
    /// Packets (or aggregates) refused.
    pub dropped_packets: Shared,
    /// IP bytes that passed over loopback.
    pub loopback_bytes: Shared,
    /// Packets that passed over loopback.
    pub loopback_packets: Shared,
}

/// Who a slot belongs to.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Identity {
    /// Thread-group id in the initial PID namespace; 0: the slot is free.
    pub tgid: Shared,
    /// As in the meters, for those who must not touch their cache lines, which every packet
    /// writes.
    pub generation: Shared,
    /// 1: children inherit the rule.
    pub inherit: Shared,
    /// When the process started, in [`TICK_NS`] since boot; 0: this kernel does not tell.
    pub start_ticks: Shared,
    /// `comm` of the process when it took the slot, in memory order, for processes that end
    /// before anybody can read /proc; 0: this kernel does not tell.
    pub name: [Shared; 2],
    /// The user whose share of the slots it is of ([`crate::shares`]); 0: nobody's.
    pub user: Shared,
}

/// All that is known of one process with sockets.
#[repr(C)]
#[derive(Debug, Default)]
pub struct ProcessSlot {
    /// Who it is.
    pub identity: Identity,
    /// Download.
    pub ingress: Meter,
    /// Upload.
    pub egress: Meter,
}

/// One limit. Several processes may point to the same rule; they then share it.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Rule {
    /// Download.
    pub ingress: Bucket,
    /// Upload.
    pub egress: Bucket,
    /// The TCP connections that share it.
    pub crowd: Crowd,
    /// Which limit it is.
    pub identity: RuleIdentity,
}

/// What tells a limit apart from others that have had the same rule.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct RuleIdentity {
    /// As in its [`crate::ownership::RuleId`]s; 0: none is set.
    pub serial: Shared,
    /// Goes up at each fork of a process under it, once the child is noted as an heir: whoever looks for members while
    /// it stays the same misses nobody.
    pub forks: Shared,
}

/// How many TCP connections share a limit, counted by the kernel programs. One cache line.
///
/// A connection counts in an epoch ([`crate::connection::epoch`]) once it has carried a good part of the fair
/// rate in it. Counts of even and odd epochs are kept apart, so that user
/// space clears one while the other grows.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Crowd {
    /// How many the fair rate is made for.
    pub known: Shared,
    /// How many are new ([`crate::connection::new_ns`]): the programs add, user space takes away.
    pub new: Shared,
    /// Downloads.
    pub down: [Shared; 2],
    /// Uploads.
    pub up: [Shared; 2],
    /// Downloads that come in pulses.
    pub pausing: [Shared; 2],
}

/// What belongs to no process. Per CPU, so plain counters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Arrived for no known process.
    pub ingress: Unattributed,
    /// Sent by no known process.
    pub egress: Unattributed,
    /// Sockets whose process found no free slot, or none within its user's share.
    pub slots_exhausted: u64,
    /// Children that could not be noted as heirs.
    pub heirs_exhausted: u64,
}

/// Traffic of sockets without a living owner, or of no socket at all.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unattributed {
    /// IP bytes, loopback aside.
    pub bytes: u64,
    /// Packets, loopback aside.
    pub packets: u64,
    /// IP bytes over loopback.
    pub loopback_bytes: u64,
    /// Packets over loopback.
    pub loopback_packets: u64,
}

/// Where the running kernel keeps what we read of its structs, in bytes from their start, taken
/// from its BTF. All zero: the kernel has no BTF; then start times are not known, children do not
/// inherit in the kernel, and who uses a socket is not seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelOffsets {
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.start_boottime` (`real_start_time` before 5.5)
    pub task_start_boottime: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.flags`
    pub task_flags: u32,
    /// `sock_common.skc_family`, with which a `struct sock` begins
    pub sock_family: u32,
    /// `sock.sk_socket`
    pub sock_socket: u32,
    /// `socket.file`
    pub socket_file: u32,
    // Those from here on may be 0 by themselves: what needs them is not seen then.
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `task_struct.cred`
    pub task_cred: u32,
    /// `cred.euid`
    pub cred_euid: u32,
    /// `task_struct.mm`
    pub task_mm: u32,
    /// `mm_struct.exe_file`
    pub mm_exe_file: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `inode.i_ino`
    pub inode_number: u32,
    /// `inode.i_sb`
    pub inode_super_block: u32,
    /// `super_block.s_dev`
    pub super_block_device: u32,
    /// `sock.sk_type`
    pub sock_type: u32,
    /// `sock.sk_lock.owned`
    pub sock_lock_owned: u32,
}

/// Where the running kernel keeps what levers need of TCP sockets, in bytes from the start of its structs,
/// taken from its BTF. All zero: the policer alone holds limits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOffsets {
    /// `sock_common.skc_state`
    pub state: u32,
    /// `sock_common.skc_v6_daddr`
    pub v6_remote: u32,
    /// `sock_common.skc_v6_rcv_saddr`
    pub v6_local: u32,
    /// `sock.sk_max_pacing_rate`
    pub max_pacing_rate: u32,
    /// `tcp_sock.window_clamp`
    pub window_clamp: u32,
    /// `tcp_sock.snd_cwnd_clamp`
    pub snd_cwnd_clamp: u32,
    /// `tcp_sock.snd_cwnd`
    pub snd_cwnd: u32,
    /// `tcp_sock.srtt_us`
    pub srtt_us: u32,
    /// `tcp_sock.mss_cache`
    pub mss_cache: u32,
    /// `tcp_sock.bytes_received`
    pub bytes_received: u32,
    /// `tcp_sock.bytes_acked`
    pub bytes_acked: u32,
    /// `tcp_sock.data_segs_out`
    pub data_segs_out: u32,
    /// The byte of `tcp_sock.rx_opt` whose high half is `rcv_wscale`.
    pub window_scales: u32,
    /// `tcp_sock.bpf_sock_ops_cb_flags`
    pub cb_flags: u32,
}

const _: () = {
    assert!(size_of::<Meter>() == 64);
    assert!(size_of::<ProcessSlot>() == 192);
    assert!(size_of::<Rule>() == 256);
    assert!(size_of::<Connection>() == 280);
    assert!(size_of::<Totals>() == 80);
    assert!(size_of::<KernelOffsets>() == 76);
    assert!(size_of::<TcpOffsets>() == 56);
};

impl KernelOffsets {
    /// The same in words, in the order of the fields.
    pub const fn words(self) -> [u32; 19] {
        [
            self.task_tgid,
            self.task_group_leader,
            self.task_start_boottime,
            self.task_comm,
            self.task_flags,
            self.sock_family,
            self.sock_socket,
            self.socket_file,
            self.task_real_parent,
            self.task_cred,
            self.cred_euid,
            self.task_mm,
            self.mm_exe_file,
            self.file_inode,
            self.inode_number,
            self.inode_super_block,
            self.super_block_device,
            self.sock_type,
            self.sock_lock_owned,
        ]
    }
}

impl TcpOffsets {
    /// The same in words, in the order of the fields.
    pub const fn words(self) -> [u32; 14] {
        [
            self.state,
            self.v6_remote,
            self.v6_local,
            self.max_pacing_rate,
            self.window_clamp,
            self.snd_cwnd_clamp,
            self.snd_cwnd,
            self.srtt_us,
            self.mss_cache,
            self.bytes_received,
            self.bytes_acked,
            self.data_segs_out,
            self.window_scales,
            self.cb_flags,
        ]
    }
}

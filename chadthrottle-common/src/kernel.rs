//! What we rely on of Linux: each fact with its value, and where the kernel has it; a version where it is later
//! than 2.6.

/// The loopback device has this index in every network namespace (`LOOPBACK_IFINDEX`, include/net/flow.h; 3.7).
pub const LOOPBACK_IFINDEX: u32 = 1;

/// Ethernet protocol numbers as `__sk_buff.protocol` holds them, in network order (`ETH_P_IP`,
/// include/uapi/linux/if_ether.h).
pub const ETH_P_IP: u32 = 0x0800u16.to_be() as u32;

/// As [`ETH_P_IP`] (`ETH_P_IPV6`).
pub const ETH_P_IPV6: u32 = 0x86ddu16.to_be() as u32;

/// Address families (include/linux/socket.h).
pub const AF_INET: u16 = 2;

/// As [`AF_INET`].
pub const AF_INET6: u16 = 10;

/// Packet sockets (include/linux/socket.h).
pub const AF_PACKET: u16 = 17;

/// A packet socket that is given whole frames (`SOCK_RAW`, include/linux/net.h).
pub const SOCK_RAW: u16 = 3;

/// A thread of the kernel (`PF_KTHREAD`, include/linux/sched.h).
pub const PF_KTHREAD: u32 = 0x0020_0000;

/// What a connection starts with by itself, in segments (`TCP_INIT_CWND`, include/net/tcp.h; RFC 6928; 2.6.39).
pub const INITIAL_WINDOW: u64 = 10;

/// The kernel does not pace a connection's first segments; those that are refused count too
/// (`tcp_update_skb_after_send`, net/ipv4/tcp_output.c; 4.20).
pub const PACED_FROM: u32 = 10;

/// How long acknowledgements may be held back, in microseconds (`TCP_DELACK_MIN`, include/net/tcp.h: 40 ms, and what
/// rounding to ticks adds).
pub const DELAYED_ACK_US: u64 = 50_000;

/// The shortest timer of a sender, for retransmissions and for probes of a closed window, in nanoseconds
/// (`TCP_RTO_MIN`, include/net/tcp.h).
pub const SHORTEST_TIMER_NS: u64 = 200_000_000;

/// The smallest window clamp that a socket takes, in bytes: half of the smallest receive buffer
/// (`tcp_set_window_clamp`, `SOCK_MIN_RCVBUF`). No full segment of an Ethernet fits into it.
pub const SMALLEST_CLAMP: u64 = 1_152;

/// A packet of fewer bytes may not make a window grow: it takes 128 bytes of payload (`tcp_event_data_recv`), and headers
/// of IPv6 and TCP with a time stamp.
pub const LEAST_GROWING: u64 = 128 + 40 + 32;

/// Windows have 30 bits (`TCP_MAX_WSCALE`, include/net/tcp.h; RFC 7323, 2.2).
pub const LARGEST_WINDOW: u64 = 1 << 30;

/// A pace of this value is none (`sk_max_pacing_rate`, which `SO_MAX_PACING_RATE` sets from 32 bits; 3.13).
pub const NO_PACE: u64 = u32::MAX as u64;

/// `TCP_ESTABLISHED`, `TCP_FIN_WAIT1`, `TCP_FIN_WAIT2` and `TCP_CLOSE_WAIT` (include/net/tcp_states.h), as bits.
pub const OPEN_STATES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8;

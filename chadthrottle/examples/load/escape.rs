//! The techniques by name.

use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::ValueEnum;

use crate::{meter, process, raw, ring, sys, tcp, udp};

/// What a technique is to do: for how long, with whom, and which way the limit is.
#[derive(Clone, Copy)]
pub struct Job {
    pub peer: IpAddr,
    /// What it sends is limited, and not what it receives.
    pub up: bool,
    until: Instant,
}

impl Job {
    pub fn new(peer: IpAddr, up: bool, lasts: Duration) -> Self {
        let until = Instant::now() + lasts;
        Self { peer, up, until }
    }

    /// How much of its time is left.
    pub fn left(self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// One that ends so much earlier.
    pub fn but_for(mut self, earlier: Duration) -> Self {
        self.until -= earlier;
        self
    }
}

/// With which a process could outrun its limit.
#[derive(Clone, Copy, ValueEnum)]
pub enum Technique {
    /// One connection with all it can: what limits are made for
    Bulk,
    Bulk100,
    Bulk700,
    Bulk1000,
    /// 1,500 open connections, a packet under way on each
    PacketEach,
    /// A connection for each request
    Requests,
    Requests300,
    FastOpen,
    FilledAndLeft,
    SmallSegments,
    SmallSegments100,
    SingleBytes,
    OptionsLoop,
    /// sendfile and splice
    InTheKernel,
    ZeroCopy,
    IoUring,
    Server,
    SharedPort,
    MptcpClient,
    MptcpServer,
    /// An MPTCP listener with a TCP client
    MptcpListener,
    Udp,
    UdpTiny,
    UdpAllSizes,
    UdpAggregates,
    UdpFragments,
    UdpEcn,
    UdpSocketEach,
    UdpGroup,
    UdpLite,
    Sctp,
    Dccp,
    Icmp,
    RawIp,
    PacketSocket,
    ForkStorm,
    ExecStorm,
    ExecLoop,
    Daemon,
    DaemonAlone,
    /// Each process ends as soon as it has started the next
    ForkChain,
    Threads,
    SharedDescriptors,
    OwnCgroup,
    GivenAway,
    TakenOver,
    /// Thirty datagrams, and out
    Burst,
}

pub fn run(technique: Technique, job: Job, accomplice: Option<PathBuf>) -> anyhow::Result<()> {
    crate::prepare()?;
    if !matches!(technique, Technique::Burst) {
        meter::start(job.left());
    }
    let accomplice = || accomplice.context("it needs an accomplice");
    let (datagram, stream) = (libc::SOCK_DGRAM, libc::SOCK_STREAM);
    match technique {
        Technique::Bulk => tcp::bulk(job, 1, 0),
        Technique::Bulk100 => tcp::bulk(job, 100, 0),
        Technique::Bulk700 => tcp::bulk(job, 700, 0),
        Technique::Bulk1000 => tcp::bulk(job, 1_000, 0),
        Technique::PacketEach => tcp::a_packet_each(job, 1_500),
        Technique::Requests => tcp::a_connection_each(job, 1),
        Technique::Requests300 => tcp::a_connection_each(job, 300),
        Technique::FastOpen => tcp::fast_open(job),
        Technique::FilledAndLeft => tcp::filled_and_left(job),
        Technique::SmallSegments => tcp::small_segments(job, 1),
        Technique::SmallSegments100 => tcp::small_segments(job, 100),
        Technique::SingleBytes => tcp::single_bytes(job),
        Technique::OptionsLoop => tcp::options_in_a_loop(job),
        Technique::InTheKernel => tcp::in_the_kernel(job),
        Technique::ZeroCopy => tcp::zero_copy(job),
        Technique::IoUring => ring::bulk(job),
        Technique::SharedPort => tcp::shared_port(job),
        Technique::Server => tcp::server(job, 0, false),
        Technique::MptcpClient => tcp::bulk(job, 1, sys::MPTCP),
        Technique::MptcpServer => tcp::server(job, sys::MPTCP, true),
        Technique::MptcpListener => tcp::server(job, sys::MPTCP, false),
        Technique::Udp => udp::datagrams(job, &[1_200]),
        Technique::UdpTiny => udp::datagrams(job, &[32]),
        Technique::UdpAllSizes => udp::of_all_sizes(job),
        Technique::UdpAggregates => udp::aggregates(job),
        Technique::UdpFragments => udp::datagrams(job, &[8_000]),
        Technique::UdpEcn => udp::capable_of_ecn(job, 2_000),
        Technique::UdpSocketEach => udp::a_socket_each(job),
        Technique::UdpGroup => udp::to_a_group(job),
        Technique::UdpLite => udp::of_protocol(job, datagram, libc::IPPROTO_UDPLITE),
        Technique::Sctp => udp::of_protocol(job, stream, libc::IPPROTO_SCTP),
        Technique::Dccp => udp::of_protocol(job, libc::SOCK_DCCP, libc::IPPROTO_DCCP),
        Technique::Icmp => raw::icmp(job),
        Technique::RawIp => raw::ip(job),
        Technique::PacketSocket => raw::by_packet_socket(job),
        Technique::ForkStorm => process::fork_storm(job),
        Technique::ExecStorm => process::exec_storm(job),
        Technique::ExecLoop => process::exec_loop(job),
        Technique::Daemon => process::daemon(job, false),
        Technique::DaemonAlone => process::daemon(job, true),
        Technique::ForkChain => process::fork_chain(job),
        Technique::Threads => process::threads(job),
        Technique::SharedDescriptors => process::shared_descriptors(job),
        Technique::OwnCgroup => process::own_cgroup(job),
        Technique::GivenAway => process::given_away(job, &accomplice()?),
        Technique::TakenOver => process::taken_over(&accomplice()?),
        Technique::Burst => process::burst(job),
    }
}

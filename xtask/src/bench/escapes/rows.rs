//! What is tried.

/// One technique, one way.
#[derive(Clone, Copy)]
pub struct Row {
    /// In words, for the table.
    pub name: &'static str,
    /// What load calls it.
    pub technique: &'static str,
    pub way: Way,
    pub how: How,
    /// Why a limit on a process cannot hold it, where that is so.
    pub cannot: Option<&'static str>,
    /// Whether it is tried in the short run too.
    pub quick: bool,
    /// How many times as long it takes.
    pub longer: f64,
}

impl Row {
    /// Whether ChadThrottle may say that it cannot.
    pub fn may_be_refused(&self) -> bool {
        matches!(self.how, How::PidNamespace | How::CgroupNamespace)
    }
}

/// Which way the limit is, and the family.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Up4,
    Up6,
    Down4,
    Down6,
}

impl Way {
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up4 | Self::Up6)
    }

    pub fn is_v6(self) -> bool {
        matches!(self, Self::Up6 | Self::Down6)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Up4 => "up",
            Self::Up6 => "up, IPv6",
            Self::Down4 => "down",
            Self::Down6 => "down, IPv6",
        }
    }
}

/// How the limit comes upon the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// `run`.
    Run,
    /// `run`, beside a process without a limit, which sends through a socket that it is given.
    BesideReceiver,
    /// `run`, beside a process without a limit, which makes the socket.
    BesideGiver,
    /// `run`, of a ChadThrottle in a PID namespace of its own.
    PidNamespace,
    /// `limit PID`, of a ChadThrottle in a cgroup and a cgroup namespace of its own.
    CgroupNamespace,
    /// On the screen, where it is made slower and faster again and again.
    Changing,
    /// `limit exe:PATH`, on programs that run one after another.
    Executable,
    /// `limit name:NAME`, the same.
    Name,
}

const PASSED: &str = "who uses a socket is charged, and that is the other process";
const PACKET: &str = "its packets pass no socket of IP, where limits are";

const ALL: &[Way] = &[Way::Up4, Way::Up6, Way::Down4, Way::Down6];
const IPV4: &[Way] = &[Way::Up4, Way::Down4];
const UP: &[Way] = &[Way::Up4];
const UP_BOTH: &[Way] = &[Way::Up4, Way::Up6];

/// All rows, in the table's order.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |name, technique, ways: &[Way], quick: &[Way]| {
        rows.extend(ways.iter().map(|&way| Row {
            name,
            technique,
            way,
            how: How::Run,
            cannot: None,
            quick: quick.contains(&way),
            longer: 1.0,
        }));
    };
    add("one connection", "bulk", ALL, &[]);
    add("100 connections", "bulk100", IPV4, UP);
    add("700 connections", "bulk700", IPV4, &[]);
    add(
        "1,500 connections, a packet on each",
        "packet-each",
        ALL,
        IPV4,
    );
    add("a connection a request", "requests", ALL, IPV4);
    add(
        "300 requests at once, a connection each",
        "requests300",
        ALL,
        &[],
    );
    add("fast open: a packet in each SYN", "fast-open", ALL, IPV4);
    add(
        "connections filled and closed",
        "filled-and-left",
        UP_BOTH,
        &[],
    );
    add("segments of 88 B", "small-segments", ALL, UP);
    add(
        "segments of 88 B, 100 connections",
        "small-segments100",
        IPV4,
        &[],
    );
    add(
        "writes of one byte, without delay",
        "single-bytes",
        IPV4,
        UP,
    );
    add("options set in a loop", "options-loop", IPV4, IPV4);
    add("sendfile, splice", "in-the-kernel", IPV4, &[]);
    add("MSG_ZEROCOPY", "zero-copy", UP, &[]);
    add("io_uring, direct descriptors", "io-uring", ALL, &[]);
    add("a server", "server", IPV4, &[]);
    add("four servers on one port", "shared-port", UP, &[]);
    add("MPTCP, client", "mptcp-client", ALL, IPV4);
    add("MPTCP, server", "mptcp-server", ALL, IPV4);
    add("MPTCP listener, TCP client", "mptcp-listener", IPV4, &[]);
    add("UDP, 1,200 B", "udp", ALL, &[]);
    add("UDP, 32 B", "udp-tiny", ALL, &[Way::Up6, Way::Down4]);
    add("UDP, 8 to 1,400 B", "udp-all-sizes", ALL, &[]);
    add(
        "UDP, 40 datagrams a call (GSO)",
        "udp-aggregates",
        UP_BOTH,
        UP,
    );
    add("UDP, 8,000 B in fragments", "udp-fragments", ALL, &[]);
    add("UDP, ECT(0), beside 2,000 connections", "udp-ecn", IPV4, UP);
    add("UDP, a socket a datagram", "udp-socket-each", UP_BOTH, &[]);
    add("UDP, to a group", "udp-group", UP, &[]);
    add("UDP-Lite", "udp-lite", UP_BOTH, &[]);
    add("SCTP", "sctp", UP, &[]);
    add("DCCP", "dccp", UP, &[]);
    add("ICMP, raw socket", "icmp", ALL, &[]);
    add("whole IP packets, raw socket", "raw-ip", UP, &[]);
    add("vfork and exec as fast as it can", "exec-storm", UP, &[]);
    add("exec of itself in a loop", "exec-loop", UP, &[]);
    add("a daemon: two forks, setsid", "daemon", UP, &[]);
    add("50 threads", "threads", UP, &[]);
    add("a cgroup of its own", "own-cgroup", UP, &[]);
    let one = |name, technique, how, cannot, quick| Row {
        name,
        technique,
        way: Way::Up4,
        how,
        cannot,
        quick,
        longer: 1.0,
    };
    let longer = |longer, row| Row { longer, ..row };
    // The limit's own process ends first, and then it is looked for others.
    let outlived = |name, technique| longer(2.0, one(name, technique, How::Run, None, true));
    rows.extend([
        outlived("a daemon, when `run`'s own child has ended", "daemon-alone"),
        outlived(
            "a chain: each ends when it has started the next",
            "fork-chain",
        ),
        // There are 65,536 slots for processes that have not ended for longer than five seconds.
        longer(
            2.0,
            one(
                "forks as fast as it can",
                "fork-storm",
                How::Run,
                None,
                true,
            ),
        ),
        longer(
            5.0,
            one(
                "sockets of forgotten children, descriptors shared",
                "shared-descriptors",
                How::Run,
                None,
                true,
            ),
        ),
        one(
            "short programs, by exe:",
            "burst",
            How::Executable,
            None,
            true,
        ),
        one("short programs, by name:", "burst", How::Name, None, true),
        one(
            "a limit that changes: 100, 70, 100 KB/s",
            "udp",
            How::Changing,
            None,
            false,
        ),
        one(
            "ChadThrottle in a PID namespace",
            "udp",
            How::PidNamespace,
            None,
            true,
        ),
        one(
            "ChadThrottle in a cgroup namespace",
            "udp",
            How::CgroupNamespace,
            None,
            true,
        ),
        one(
            "a socket from an unlimited process",
            "taken-over",
            How::BesideGiver,
            None,
            false,
        ),
        one(
            "a socket given to one",
            "given-away",
            How::BesideReceiver,
            Some(PASSED),
            false,
        ),
        one(
            "frames, packet socket",
            "packet-socket",
            How::Run,
            Some(PACKET),
            false,
        ),
    ]);
    rows
}

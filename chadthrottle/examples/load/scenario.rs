//! What the kernel tests have made. Most of it begins when they say so: see `talk`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use clap::Subcommand;

use crate::{client, echo, family, marks, offer, process, stream};

#[derive(Subcommand)]
pub enum Scenario {
    /// Offers 4 MB/s to `take`, for a while
    Offer {
        seconds: f64,
        kind: offer::Kind,
        taker: IpAddr,
    },
    /// Receives what `offer` sends
    Take { kind: offer::Kind, address: IpAddr },
    /// A child sends to `peer` at once
    ForkAndSend { peer: IpAddr, bytes: usize },
    /// A grandchild sends to `peer` whose parent has ended
    OrphanAndSend { peer: IpAddr, bytes: usize },
    /// Sends to `peer` in one call through the socket of a child that has ended
    SendByEnded { peer: IpAddr, bytes: usize },
    /// Sends to `peer` as another user
    SendAs {
        user: u32,
        peer: IpAddr,
        bytes: usize,
    },
    /// Makes children without a socket
    ForkAndWait { children: usize },
    /// Makes children of a user, each with a socket
    SocketsByUser { user: u32, children: usize },
    /// Ends its first thread and lives on
    WithoutFirstThread,
    /// Takes all there is from `feed`
    Fetch { address: IpAddr, port: u16 },
    /// Does with connections to `feed` what it is told, and says what their options are
    Client { address: IpAddr, port: u16 },
    /// Prints how long the first timer of a connection is that nobody answers, in microseconds
    FirstTimer { address: IpAddr },
    /// Sends small packets to `peer` for two seconds, and prints how many seconds ten exchanges after that took
    Exchanges {
        peer: IpAddr,
        /// Take the pace off their connection before each
        #[arg(long)]
        free: bool,
    },
    /// Sends 500 datagrams a second to `marks`, for three seconds
    Marked { address: IpAddr, traffic_class: u8 },
    /// Prints how many datagrams of `marked` have come, and how many were marked on the way
    Marks { sender: IpAddr },
}

pub fn run(scenario: &Scenario) -> anyhow::Result<()> {
    match *scenario {
        Scenario::Offer {
            seconds,
            kind,
            taker,
        } => offer::offer(Duration::from_secs_f64(seconds.max(0.0)), kind, taker),
        Scenario::Take { kind, address } => offer::take(kind, address),
        Scenario::ForkAndSend { peer, bytes } => family::fork_and_send(peer, bytes),
        Scenario::OrphanAndSend { peer, bytes } => family::orphan_and_send(peer, bytes),
        Scenario::SendByEnded { peer, bytes } => family::send_by_ended(peer, bytes),
        Scenario::SendAs { user, peer, bytes } => family::send_as(user, peer, bytes),
        Scenario::ForkAndWait { children } => family::fork_and_wait(children),
        Scenario::SocketsByUser { user, children } => family::sockets_by_user(user, children),
        Scenario::WithoutFirstThread => process::without_first_thread(),
        Scenario::Fetch { address, port } => stream::fetch(SocketAddr::new(address, port)),
        Scenario::Client { address, port } => client::run(SocketAddr::new(address, port)),
        Scenario::FirstTimer { address } => client::first_timer(SocketAddr::new(address, 9)),
        Scenario::Exchanges { peer, free } => echo::after_a_flood(peer, free),
        Scenario::Marked {
            address,
            traffic_class,
        } => marks::send(address, traffic_class),
        Scenario::Marks { sender } => marks::count(sender),
    }
}

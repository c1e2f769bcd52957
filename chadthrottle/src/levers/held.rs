//! The flows of one limit: finding them, sharing the limit out, setting their levers.

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Ability, ActiveFlows, Direction, Gates, Lever, Look, Options, download,
    flow::{self, Flow, Half, Seen, each},
    gates::Gating,
    options::Which,
    retract::Retraction,
    share,
    turns::Cycle,
    upload,
};
use crate::{
    engine::Limit,
    process::{SocketFd, sockets_of},
    sys::tcp,
};

/// How often processes are searched for new sockets. Until a connection is found it has the lever
/// that the kernel program gave it.
const SEARCH_INTERVAL: Duration = Duration::from_millis(100);

/// How much longer than a look takes it waits for the next one at least, so that looks take no more
/// than a twentieth of one core.
const REST_PER_LOOK: u32 = 19;

/// The flows of one limit's members.
#[derive(Debug, Default)]
pub struct Held {
    /// By the socket's inode.
    flows: HashMap<u64, Flow>,
    /// Sockets that no lever is for, by inode.
    others: HashSet<u64>,
    searched: Option<Instant>,
    observed: Option<Instant>,
    rests_until: Option<Instant>,
    active: ActiveFlows,
    limit: Option<Limit>,
    /// Since the last look: what one limit has set, the next may not cover.
    changed: bool,
    /// In which slow uploads send their packets.
    cycle: Cycle,
}

impl Held {
    /// Looks for new sockets, where it is time for that, and says whether it was.
    pub fn look_for_flows(&mut self, root: &Path, look: &Look<'_>) -> bool {
        let now = Instant::now();
        let before = self.limit.replace(look.limit);
        let changed = before != Some(look.limit);
        let due = self
            .searched
            .is_none_or(|searched| now - searched >= SEARCH_INTERVAL);
        if !changed && !due {
            return false;
        }
        self.searched = Some(now);
        self.search(root, look.members);
        self.changed |= changed && before.is_some();
        true
    }

    /// Whether it is too early for another look at an unchanged limit: at very many flows.
    pub fn rests(&self, look: &Look<'_>) -> bool {
        self.limit == Some(look.limit)
            && self.rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// Lets it rest after a look that took so long.
    pub fn rest_after(&mut self, look: Duration) {
        self.rests_until = Some(Instant::now() + look * REST_PER_LOOK);
    }

    /// How many flows carried something at the last look.
    pub fn active(&self) -> ActiveFlows {
        self.active
    }

    /// Whether that socket is one of the flows.
    pub fn has(&self, inode: u64) -> bool {
        self.flows.contains_key(&inode)
    }

    /// The limit at the last look.
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// The flows, by the socket's inode.
    pub fn flows(&mut self) -> &mut HashMap<u64, Flow> {
        &mut self.flows
    }

    /// The processes that were seen with flows.
    pub fn processes(&self) -> impl Iterator<Item = u32> {
        self.flows.values().map(|flow| flow.pid)
    }

    /// Asks the kernel how the flows are, shares the limit out, and sets their levers.
    pub fn pull(
        &mut self,
        options: &mut Options,
        gates: &mut Gates,
        retraction: &mut Retraction,
        look: &Look<'_>,
        ability: Ability,
    ) -> ActiveFlows {
        let now = Instant::now();
        let seconds = self
            .observed
            .replace(now)
            .map_or(0.0, |before| (now - before).as_secs_f64());
        self.observe(look.owns, seconds);
        let down = share_out(&mut self.flows, Direction::Down, &look.limit, ability);
        let up = share_out(&mut self.flows, Direction::Up, &look.limit, ability);
        let downloads = self.set(options, gates, retraction, look, ability, seconds);
        let with = |what: fn(Gating) -> bool| downloads.iter().filter(|gate| what(**gate)).count();
        self.active = ActiveFlows {
            down,
            up,
            gated: with(Gating::pauses),
            gates: with(|gating| gating != Gating::Open),
        };
        self.active
    }

    /// Finds the members' sockets.
    fn search(&mut self, root: &Path, members: &[u32]) {
        let mut seen = HashSet::new();
        for pid in members {
            for SocketFd { fd, inode } in sockets_of(root, *pid) {
                seen.insert(inode);
                if !self.others.contains(&inode) {
                    let flow = self
                        .flows
                        .entry(inode)
                        .or_insert_with(|| Flow::new(*pid, fd));
                    (flow.pid, flow.fd) = (*pid, fd);
                }
            }
        }
        self.flows.retain(|inode, _| seen.contains(inode));
        self.others.retain(|inode| seen.contains(inode));
    }

    /// Asks the kernel how the flows are, `seconds` after the last time.
    fn observe(&mut self, owns: &dyn Fn(&OwnedFd) -> bool, seconds: f64) {
        let Self { flows, others, .. } = self;
        each(flows, |inode, flow, socket| {
            if flow.class.is_none() && !tcp::is_tcp(socket) {
                others.insert(inode);
                return;
            }
            let info = tcp::info(socket).unwrap_or_default();
            if flow.class.is_none() && info.is_open() {
                flow.class =
                    tcp::addresses(socket).map(|(remote, local)| flow::class(remote, local));
            }
            flow.observe(info, seconds);
            if !owns(socket) {
                flow.info = None;
            }
        });
        flows.retain(|inode, _| !others.contains(inode));
    }

    /// Sets the levers of all flows, `seconds` after the last time. Gives what the gates of
    /// downloads do.
    fn set(
        &mut self,
        options: &mut Options,
        gates: &mut Gates,
        retraction: &mut Retraction,
        look: &Look<'_>,
        ability: Ability,
        seconds: f64,
    ) -> Vec<Gating> {
        let Self { flows, cycle, .. } = self;
        let mut gatings = Vec::new();
        let changed = std::mem::take(&mut self.changed);
        upload::advance(cycle, seconds, flows.values(), look);
        each(flows, |inode, flow, socket| {
            let Some(info) = flow.info else {
                return;
            };
            let up = Lever::of(Direction::Up, flow, &look.limit, ability);
            let down = Lever::of(Direction::Down, flow, &look.limit, ability);
            if changed {
                let which = Which {
                    pacing: up != Lever::Pacing,
                    clamp: down != Lever::Window,
                    flight: up != Lever::Pacing,
                };
                if let Err(error) = options.put_back(socket, which) {
                    log::warn!("a socket of process {} keeps its limit: {error}", flow.pid);
                }
            }
            let seen = Seen {
                socket,
                inode,
                info,
            };
            if up == Lever::Pacing {
                upload::hold(flow, seen, options, cycle, look, ability);
            }
            if down == Lever::Window {
                gatings.push(download::hold(flow, seen, options, gates, retraction, look));
            }
        });
        gatings
    }
}

/// Shares one direction of the limit between the flows that it holds. Gives how many of them carry
/// something.
fn share_out(
    flows: &mut HashMap<u64, Flow>,
    direction: Direction,
    limit: &Limit,
    ability: Ability,
) -> usize {
    let Some(rate) = direction.rate(limit) else {
        return 0;
    };
    let total = rate.bytes_per_second() as f64;
    let mut halves: Vec<&mut Half> = flows
        .values_mut()
        .filter(|flow| Lever::of(direction, flow, limit, ability) != Lever::Policer)
        .map(|flow| direction.half(flow))
        .collect();
    let active = halves.iter().filter(|half| half.is_active(total)).count();
    let needs: Vec<f64> = halves
        .iter()
        .map(|half| {
            if half.is_active(total) {
                half.need(total, active)
            } else {
                half.rate
            }
        })
        .collect();
    let shares = share::by_need(total, &needs);
    let left = total - shares.iter().sum::<f64>();
    // Who rests may start at once with what one more would get; those that are new, since they will
    // start together, with what one more of all of them would.
    let one_more = (total / (active + 1) as f64).max(left);
    let new = halves.iter().filter(|half| half.is_new()).count().max(1);
    for (half, share) in halves.iter_mut().zip(shares) {
        half.granted = if half.is_active(total) {
            share.max(left)
        } else if half.is_new() {
            one_more / new as f64
        } else {
            one_more
        };
    }
    active
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tcp::TcpInfo;
    use chadthrottle_common::scope::Scope;

    const LOOK_S: f64 = 0.05;
    const ABILITY: Ability = Ability {
        pacing: true,
        window: true,
        retraction: true,
        flight: true,
    };

    /// A connection to the Internet at one look.
    #[derive(Clone, Copy)]
    struct Upload {
        sent: u64,
        waiting: u32,
        in_flight: u32,
    }

    fn limit(up: &str) -> Limit {
        Limit {
            down: None,
            up: Some(up.parse().unwrap()),
            scope: Scope::DEFAULT,
        }
    }

    fn observe(flow: &mut Flow, upload: Upload) {
        const ESTABLISHED: u8 = 1;
        let mut info = TcpInfo::default();
        info.state = ESTABLISHED;
        info.bytes_acked = upload.sent;
        info.not_sent = upload.waiting;
        info.unacked = upload.in_flight;
        info.congestion_window = 10;
        flow.class = Some(Scope::INTERNET);
        flow.observe(info, LOOK_S);
    }

    /// Looks for a while at connections that have sent something, and send so many bytes a second
    /// each; gives what each may send in the end.
    fn shares(rates: &[(f64, u32, u32)], limit: &Limit) -> Vec<f64> {
        shares_after(10_000, rates, limit)
    }

    /// The same of connections that have sent so many bytes before.
    fn shares_after(before: u64, rates: &[(f64, u32, u32)], limit: &Limit) -> Vec<f64> {
        let mut flows: HashMap<u64, Flow> = (0..rates.len() as u64)
            .map(|inode| (inode, Flow::new(1, inode as i32)))
            .collect();
        for look in 0..100 {
            for (inode, flow) in &mut flows {
                let (rate, waiting, in_flight) = rates[*inode as usize];
                let sent = before + (rate * LOOK_S * f64::from(look)) as u64;
                observe(
                    flow,
                    Upload {
                        sent,
                        waiting,
                        in_flight,
                    },
                );
            }
            share_out(&mut flows, Direction::Up, limit, ABILITY);
        }
        (0..rates.len() as u64)
            .map(|inode| flows[&inode].up.granted)
            .collect()
    }

    #[test]
    fn one_busy_upload_gets_it_all_beside_others_at_rest() {
        let shares = shares(&[(1e6, 50_000, 0), (0.0, 0, 0), (0.0, 0, 0)], &limit("1MB"));
        assert!(shares[0] > 0.99e6, "{shares:?}");
        // And who rests may start with half.
        assert!((0.49e6..0.51e6).contains(&shares[1]), "{shares:?}");
    }

    #[test]
    fn busy_uploads_share_evenly() {
        let shares = shares(&[(125e3, 50_000, 0); 8], &limit("1MB"));
        assert!(
            shares.iter().all(|share| (124e3..126e3).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn what_the_network_keeps_one_from_is_for_the_others() {
        // The second has all on its way that its congestion window lets it.
        let shares = shares(&[(900e3, 50_000, 0), (100e3, 50_000, 10)], &limit("1MB"));
        assert!(shares[0] > 750e3, "{shares:?}");
        assert!(shares[1] >= 150e3, "room to grow: {shares:?}");
    }

    #[test]
    fn connections_that_are_new_together_may_start_with_a_part_each() {
        let new = shares_after(100, &[(0.0, 0, 0); 4], &limit("1MB"));
        assert!(
            new.iter().all(|share| (249e3..251e3).contains(share)),
            "{new:?}"
        );
    }

    #[test]
    fn a_connection_that_the_limit_does_not_cover_gets_no_share() {
        let mut local = limit("1MB");
        local.scope = Scope::LOCAL;
        assert_eq!(shares(&[(1e6, 50_000, 0)], &local), [0.0]);
    }
}

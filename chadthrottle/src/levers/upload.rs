//! An upload at one look: its pace, how much of it is on its way at once, and when.

use chadthrottle_common::flight;

use super::{
    Ability, Look, Options,
    flow::{Flow, Seen},
    pacing,
    turns::Cycle,
};
use crate::engine::Limit;

/// Sets the levers of an upload.
pub fn hold(
    flow: &mut Flow,
    seen: Seen<'_>,
    options: &mut Options,
    cycle: &mut Cycle,
    look: &Look<'_>,
    ability: Ability,
) {
    let Seen {
        socket,
        inode,
        info,
    } = seen;
    let even = pacing::pace(flow.up.granted, look.up_credit, in_single_packets(flow));
    let ago = f64::from(info.last_data_sent_ms) / 1e3;
    let pace = if takes_turns(flow, &look.limit) {
        even * flow.turn.factor(cycle, info.data_segments_out, ago)
    } else {
        even
    };
    log::trace!(
        "up {}/{}: {:.0} of {:.0} B/s, credit {:.2}, pace {pace:.0}",
        flow.pid,
        flow.fd,
        flow.up.rate,
        flow.up.granted,
        look.up_credit
    );
    let note = options.pace(socket, inode, &info, pace as u64);
    if ability.flight {
        let largest = flight::largest(even as u64, info.rtt_us.into(), info.send_mss.into());
        let is_paced = info.data_segments_out >= flight::PACED_FROM;
        flow.flight = largest.map(|segments| flight::at_first(segments, is_paced));
        options.hold_flight(socket, inode, &info, note, flow.flight);
    }
}

/// Goes on by so many seconds with the cycle in which slow uploads send their packets.
pub fn advance<'a>(
    cycle: &mut Cycle,
    seconds: f64,
    flows: impl Iterator<Item = &'a Flow>,
    look: &Look<'_>,
) {
    let slowest = flows
        .filter(|flow| takes_turns(flow, &look.limit))
        .min_by(|one, other| one.up.granted.total_cmp(&other.up.granted));
    if let Some(flow) = slowest
        && let Some(info) = flow.info
    {
        let pace = pacing::pace(flow.up.granted, look.up_credit, true);
        cycle.advance(seconds, pace / f64::from(info.send_mss.max(1)));
    }
}

/// Whether hardly more than one of its packets is on its way at once, so that none is refused.
fn in_single_packets(flow: &Flow) -> bool {
    const HARDLY_MORE: f64 = 1.25;
    flow.flight.is_some()
        && flow.info.is_some_and(|info| {
            let round_trip = info.round_trip_s().unwrap_or(0.0);
            flow.up.granted * round_trip < HARDLY_MORE * f64::from(info.send_mss)
        })
}

/// Whether its packets leave in turn with those of others.
fn takes_turns(flow: &Flow, limit: &Limit) -> bool {
    let busy = limit
        .up
        .is_some_and(|rate| flow.up.is_active(rate.bytes_per_second() as f64));
    busy && in_single_packets(flow)
}

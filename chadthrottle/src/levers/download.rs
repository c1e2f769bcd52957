//! A download at one look: its window, and its gate where no window is small enough.

use std::time::Duration;

use super::{
    Gates, Look, Options,
    flow::{Flow, Half, Seen},
    gates::{self, Gating},
    retract::{self, Retraction},
    window,
};

/// Sets the levers of a download. Gives what its gate does.
pub fn hold(
    flow: &mut Flow,
    seen: Seen<'_>,
    options: &mut Options,
    gates: &mut Gates,
    retraction: &mut Retraction,
    look: &Look<'_>,
) -> Gating {
    let Seen {
        socket,
        inode,
        info,
    } = seen;
    let Some(round_trip) = info.round_trip_s() else {
        return Gating::Open;
    };
    let Half { granted, rate, .. } = flow.down;
    let full_segment = f64::from(info.arriving_mss());
    let unit = f64::from(info.window_unit());
    let present = gates.present(socket);
    let wish = gates::Look {
        share: granted,
        limit: look
            .limit
            .down
            .map_or(0.0, |rate| rate.bytes_per_second() as f64),
        credit: look.down_credit,
        round_trip,
        smallest: window::smallest(full_segment, unit),
        full_segment,
        unit,
        may_close: !flow.down.patience.is_lost(),
    };
    let mut gating = Gating::of(wish);
    if gating.closes() && !present.is_seen() {
        let may_close = options.hear(socket, inode);
        gating = Gating::of(gates::Look { may_close, ..wish });
    }
    gates.set(socket, present, gating, look.now_ns);
    let window = if gating.pauses() {
        window::open(granted, round_trip, full_segment, unit) as u32
    } else {
        window::window(
            &mut flow.down.lever,
            window::Look {
                share: granted,
                rate,
                round_trip,
                segment: f64::from(info.receive_mss.max(1)),
                full_segment,
                unit,
                credit: look.down_credit,
            },
        )
    };
    log::trace!(
        "down {}/{}: {rate:.0} of {granted:.0} B/s, {round_trip:.6} s, credit {:.2}, window {window} of {}, {}, {gating:?}",
        flow.pid,
        flow.fd,
        look.down_credit,
        info.receive_window,
        info.bytes_received
    );
    let closed = options.clamp(socket, inode, window, gating.pauses());
    if retract::is_due(&info, window)
        && let Some(heir) = options.heir()
    {
        // With what waits on the way.
        let round_trip = Duration::from_micros(info.rtt_us.max(info.receive_rtt_us).into());
        retraction.take_back(socket, round_trip, heir);
    }
    flow.down
        .take_refusal(present.refused_ns(), closed, look.now_ns);
    gating
}

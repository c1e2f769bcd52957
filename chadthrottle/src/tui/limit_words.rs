//! What the details say of a limit: target, achieved, refused, and why.

use super::{
    held::Use,
    rows::{Row, RowLimit},
    state::State,
};
use crate::{
    model::{Direction, LimitSample},
    text::escape,
    units::format_rate,
};

/// How something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As what matters less.
    Dim,
    /// As everything.
    Text,
    /// As a limit.
    Limit,
    /// As what is held back.
    Held,
    /// As something that is wrong.
    Error,
}

/// A word and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The word; nothing where it goes on from the one before.
    pub label: &'static str,
    /// What it says, safe to show.
    pub text: String,
    /// How.
    pub tone: Tone,
}

fn told(label: &'static str, text: impl Into<String>, tone: Tone) -> Told {
    Told {
        label,
        text: text.into(),
        tone,
    }
}

/// What there is to say of the limit of a row.
pub fn limit_words(row: &Row, state: &State) -> Vec<Told> {
    let sample = match row.limit {
        RowLimit::One(id, _) => state.limit(id),
        RowLimit::None => return vec![told("limit", "none: Enter sets one", Tone::Dim)],
        RowLimit::Several => {
            let text = "several: Enter sets one for all of them";
            return vec![told("limit", text, Tone::Dim)];
        }
    };
    let Some(sample) = sample else {
        return Vec::new();
    };
    let shared = match sample.members {
        0 | 1 => String::new(),
        n => format!(", {n} share it"),
    };
    let children = if sample.children {
        ", with children"
    } else {
        ""
    };
    let text = format!("{}{children}{shared}", sample.limit);
    let mut words = vec![told("limit", text, Tone::Limit)];
    let origin = state.origin(sample.id);
    if let Some(origin) = origin.filter(|origin| origin.pid != state.pid) {
        let detached = if origin.detached { ", detached" } else { "" };
        let text = match &origin.rule {
            Some(rule) => format!("rule {}", escape(rule)),
            None => {
                let user = escape(&origin.user);
                format!("{user}, process {}{detached}", origin.pid)
            }
        };
        words.push(told("set by", text, Tone::Dim));
    }
    for (direction, label) in [(Direction::Down, "download"), (Direction::Up, "upload")] {
        words.extend(use_words(sample, direction, label, state));
    }
    words
}

/// How much of one direction is used, and why not all of it.
fn use_words(
    sample: &LimitSample,
    direction: Direction,
    label: &'static str,
    state: &State,
) -> Vec<Told> {
    let Some(used) = Use::of(sample, direction) else {
        return Vec::new();
    };
    let rate = |rate: f64| format_rate(rate, state.style);
    let target = sample.limit.rate(direction);
    let of_limit = target.filter(|target| !target.is_blocked());
    let of_limit = of_limit.map_or_else(String::new, |target| {
        let over = (used.part() - 1.0) * 100.0;
        format!(" of {}, {over:+.1} %", target.shown(state.style))
    });
    let numbers = format!(
        "{}{of_limit}, refused {} ({:.1} %)",
        rate(used.traffic.bytes_per_s),
        rate(used.traffic.dropped_bytes_per_s),
        used.refused() * 100.0
    );
    let tone = if used.unseen {
        Tone::Error
    } else if used.holds_back() {
        Tone::Held
    } else {
        Tone::Dim
    };
    vec![
        told(label, numbers, Tone::Text),
        told("", used.in_words(), tone),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::LimitId,
        tui::fixtures::{limit, process, snapshot, state},
        units::Rate,
    };

    #[test]
    fn a_blocked_direction_is_not_measured_by_a_rate() {
        let mut blocked = process(1, "wget", 0.0, 500_000.0);
        let mut both = limit(None, Some(1_000_000));
        both.down = Some(Rate::BLOCKED);
        blocked.limit = Some((LimitId(1), both));
        let snapshot = snapshot(vec![blocked]);
        let state = state(80, 24, snapshot.clone());
        let words = |direction| {
            let told = use_words(&snapshot.limits[0], direction, "", &state);
            told.into_iter().map(|told| told.text).collect::<Vec<_>>()
        };
        let expected = ["0 B/s, refused 0 B/s (0.0 %)", "blocked"];
        assert_eq!(words(Direction::Down), expected);
        let up = "500 KB/s of 1 MB/s, -50.0 %, refused 0 B/s (0.0 %)";
        assert_eq!(words(Direction::Up)[0], up);
    }
}

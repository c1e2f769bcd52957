//! The columns of the table: for the view that draws them, and for the mouse that points at them.

use super::{layout::Areas, rows::Sort, state::State};
use crate::{config::View, model::Both, units::Style};

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Process id, or how many processes.
    Pid,
    /// Name, with the branches of the tree.
    Name,
    /// User.
    User,
    /// Number of sockets.
    Sockets,
    /// Download rate.
    Down,
    /// Upload rate.
    Up,
    /// Both rates of late.
    Trend,
    /// Bytes downloaded.
    DownTotal,
    /// Bytes uploaded.
    UpTotal,
    /// Download limit.
    DownLimit,
    /// How much of it is used.
    DownGauge,
    /// Upload limit.
    UpLimit,
    /// How much of it is used.
    UpGauge,
    /// Which directions are held back, and where there is room how.
    Held,
    /// The rule that its limit comes from.
    Rule,
    /// The other end that it carries most to and from.
    Remote,
    /// The round-trip time there.
    RoundTrip,
    /// Container or unit.
    Unit,
    /// Command line.
    Command,
}

/// In the order of the screen.
const COLUMNS: [Column; 19] = [
    Column::Pid,
    Column::Name,
    Column::User,
    Column::Sockets,
    Column::Down,
    Column::Up,
    Column::Trend,
    Column::DownTotal,
    Column::UpTotal,
    Column::DownLimit,
    Column::DownGauge,
    Column::UpLimit,
    Column::UpGauge,
    Column::Held,
    Column::Rule,
    Column::Remote,
    Column::RoundTrip,
    Column::Unit,
    Column::Command,
];

impl Column {
    /// What a click on its title sorts by.
    pub fn sort(self) -> Option<Sort> {
        match self {
            Self::Pid => Some(Sort::Pid),
            Self::Name => Some(Sort::Name),
            Self::User => Some(Sort::User),
            Self::Sockets => Some(Sort::Sockets),
            Self::Down => Some(Sort::Down),
            Self::Up => Some(Sort::Up),
            Self::Trend => Some(Sort::Total),
            Self::DownTotal => Some(Sort::DownBytes),
            Self::UpTotal => Some(Sort::UpBytes),
            Self::DownLimit | Self::UpLimit | Self::DownGauge | Self::UpGauge => Some(Sort::Limit),
            Self::Held
            | Self::Rule
            | Self::Remote
            | Self::RoundTrip
            | Self::Unit
            | Self::Command => None,
        }
    }

    /// The columns that it needs at least.
    fn width(self, style: Style, view: View) -> u16 {
        // "999 KB/s", "9.99 MB/s"; "9.99 Mbit/s".
        let rate = match style {
            Style::Bytes => 9,
            Style::Bits => 11,
        };
        match self {
            Self::Name if view == View::Tree => 22,
            Self::Name => 12,
            // "4194304"; "9.99 ms".
            Self::Pid | Self::RoundTrip => 7,
            Self::User => 9,
            Self::Sockets | Self::DownGauge | Self::UpGauge => 5,
            Self::Down | Self::Up | Self::DownLimit | Self::UpLimit => rate,
            Self::Trend | Self::DownTotal | Self::UpTotal => 8,
            Self::Held => 4,
            Self::Rule => 10,
            // "198.51.100.20:443".
            Self::Remote => 17,
            Self::Unit | Self::Command => 14,
        }
    }

    /// The most that it makes use of.
    fn most(self, style: Style, view: View) -> u16 {
        match self {
            Self::Name if view == View::Tree => 36,
            Self::Name => 22,
            // Room for how it is held, "↓↑ refused", and for the percentage.
            Self::Held | Self::DownGauge | Self::UpGauge => 10,
            Self::Trend => 15,
            Self::Rule => 16,
            Self::Remote => 30,
            Self::Unit => 26,
            _ => self.width(style, view),
        }
    }

    /// The lower, the longer it stays, and the sooner it gets more room.
    fn rank(self) -> u8 {
        match self {
            Self::Name | Self::Down | Self::Up => 0,
            Self::DownLimit | Self::UpLimit => 1,
            Self::Pid => 2,
            Self::Held => 3,
            Self::DownGauge | Self::UpGauge => 4,
            Self::User => 5,
            Self::Trend => 6,
            Self::Command => 7,
            Self::Remote => 8,
            Self::RoundTrip => 9,
            Self::Unit => 10,
            Self::DownTotal | Self::UpTotal => 11,
            Self::Sockets => 12,
            Self::Rule => 13,
        }
    }

    /// Whether there can be something in it.
    fn has_use(self, about: About) -> bool {
        match self {
            Self::DownLimit | Self::DownGauge => about.limited.down,
            Self::UpLimit | Self::UpGauge => about.limited.up,
            Self::Held => about.limited.down || about.limited.up,
            Self::Rule => about.rules,
            Self::Unit => about.units,
            _ => true,
        }
    }
}

/// What the columns are to show.
#[derive(Clone, Copy, Debug)]
struct About {
    style: Style,
    view: View,
    /// Whether there are rules.
    rules: bool,
    /// Whether a process is in a unit or container.
    units: bool,
    /// The directions that something is limited in.
    limited: Both<bool>,
}

/// The columns that fit beside each other, each with where it begins and how wide it is.
pub fn columns(areas: &Areas, state: &State) -> Vec<(Column, u16, u16)> {
    let about = About {
        style: state.style,
        view: state.view,
        rules: state.has_rules(),
        units: state.has_units,
        limited: state.limited_directions(),
    };
    let mut columns = columns_within(areas.rows.width, about);
    for (_, x, _) in &mut columns {
        *x += areas.rows.x;
    }
    columns
}

/// The columns that fit into `width`.
fn columns_within(width: u16, about: About) -> Vec<(Column, u16, u16)> {
    /// For the mark of a row that is tagged, or waits for the engine.
    const MARK: u16 = 1;
    /// For longer names and commands, before columns that matter less.
    const FOR_NAMES: u16 = 22;
    /// Of a command line that says what it is.
    const BEGINNING: u16 = 24;
    let About { style, view, .. } = about;
    let mut columns: Vec<Column> = COLUMNS.into();
    columns.retain(|column| column.has_use(about));
    let needed = |columns: &[Column]| -> u16 {
        MARK + columns
            .iter()
            .map(|it| it.width(style, view) + 1)
            .sum::<u16>()
            - 1
    };
    // What a process is called is worth more than what is only there where there is room.
    let for_names = |columns: &[Column]| {
        let mut ranks = columns.iter().map(|it| it.rank());
        match ranks.any(|rank| rank > Column::Command.rank()) {
            true => FOR_NAMES,
            false => 0,
        }
    };
    while needed(&columns) + for_names(&columns) > width
        && let Some(rank) = columns.iter().map(|it| it.rank()).max()
        && rank > 0
    {
        columns.retain(|it| it.rank() < rank);
    }
    let mut left = width.saturating_sub(needed(&columns));
    let mut widths: Vec<(Column, u16)> = columns
        .iter()
        .map(|column| (*column, column.width(style, view)))
        .collect();
    // Names first, then the beginning of the command line, which in the end takes all that is left.
    let mut wanted: Vec<(Column, u16)> = columns
        .iter()
        .map(|column| (*column, column.most(style, view)))
        .collect();
    wanted.sort_by_key(|(column, _)| column.rank());
    let command = |most| (Column::Command, most);
    wanted.insert(1, command(BEGINNING));
    wanted.push(command(u16::MAX));
    for (column, most) in wanted {
        if let Some((_, width)) = widths.iter_mut().find(|(other, _)| *other == column) {
            let more = most.saturating_sub(*width).min(left);
            *width += more;
            left -= more;
        }
    }
    let mut x = MARK;
    let placed = widths.into_iter().map(|(column, width)| {
        let at = x;
        x += width + 1;
        (column, at, width)
    });
    placed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(style: Style, view: View, rules: bool) -> About {
        About {
            style,
            view,
            rules,
            units: true,
            limited: Both {
                down: true,
                up: true,
            },
        }
    }

    #[test]
    fn columns_leave_by_importance_and_never_overlap_or_leave_the_screen() {
        for view in [View::List, View::Tree] {
            let mut before = usize::MAX;
            for width in (40..=400).rev() {
                for style in [Style::Bits, Style::Bytes] {
                    let columns = columns_within(width, of(style, view, true));
                    for pair in columns.windows(2) {
                        assert_eq!(pair[0].1 + pair[0].2 + 1, pair[1].1, "{width}");
                    }
                    let (_, x, last) = columns.last().unwrap();
                    assert!(x + last <= width.max(60), "{width}: {columns:?}");
                }
                let count = columns_within(width, of(Style::Bytes, view, true)).len();
                assert!(count <= before, "{width}");
                before = count;
            }
        }
        let at = |width| {
            let columns = columns_within(width, of(Style::Bytes, View::List, true));
            columns.iter().map(|it| it.0).collect::<Vec<_>>()
        };
        assert_eq!(at(220), COLUMNS);
        let at_80 = at(78);
        for column in [
            Column::Pid,
            Column::DownGauge,
            Column::UpLimit,
            Column::Held,
        ] {
            assert!(at_80.contains(&column), "{at_80:?}");
        }
        assert!(at(118).contains(&Column::Command));
        let at_60 = at(60);
        assert!(at_60.contains(&Column::UpLimit) && !at_60.contains(&Column::User));
    }

    #[test]
    fn names_stay_narrow_and_the_command_line_takes_what_is_left() {
        let columns = columns_within(200, of(Style::Bytes, View::List, false));
        let width = |column| columns.iter().find(|it| it.0 == column).unwrap().2;
        assert!((20..=22).contains(&width(Column::Name)));
        assert_eq!(columns.last().unwrap().0, Column::Command);
        assert!(width(Column::Command) >= 19, "{columns:?}");
    }

    #[test]
    fn where_a_direction_has_no_limit_others_have_its_room() {
        let at = |width, limited| {
            let about = About {
                limited,
                ..of(Style::Bytes, View::List, false)
            };
            columns_within(width, about)
        };
        let has = |columns: &[(Column, u16, u16)], column| columns.iter().any(|it| it.0 == column);
        let only_down = Both {
            down: true,
            up: false,
        };
        let limits = [
            Column::DownLimit,
            Column::DownGauge,
            Column::Held,
            Column::UpLimit,
            Column::UpGauge,
        ];
        for width in 60..300 {
            let without = at(width, Both::default());
            assert!(
                limits.iter().all(|column| !has(&without, *column)),
                "{width}"
            );
            let down = at(width, only_down);
            assert!(
                !has(&down, Column::UpLimit) && !has(&down, Column::UpGauge),
                "{width}"
            );
            assert!(has(&down, Column::DownLimit), "{width}");
        }
        // On the usual screens.
        assert!(has(&at(78, Both::default()), Column::Command));
        assert!(has(&at(118, Both::default()), Column::Remote));
        let both = Both {
            down: true,
            up: true,
        };
        // Beside the details, at 200 columns, what it is called is worth more than where it goes.
        let beside = at(138, both);
        let width = |column| beside.iter().find(|it| it.0 == column).unwrap().2;
        assert!(width(Column::Name) >= 20, "{beside:?}");
        assert!(width(Column::Command) >= 24, "{beside:?}");
        // And how it is held is said in a word.
        assert!(width(Column::Held) >= 10, "{beside:?}");
    }
}

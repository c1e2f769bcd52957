//! The columns of the connections: for the view that draws them, and for the mouse that points at them.

use super::rows::Sort;

/// A column.
pub struct Column {
    /// Its title; of the rates, where arrows are drawn, the word.
    pub title: &'static str,
    /// What a click on that sorts by.
    pub sort: Option<Sort>,
    /// Whether it stands on the right.
    pub right: bool,
    /// How wide it is at least.
    width: usize,
    /// The lower, the longer it stays.
    rank: u8,
}

const fn column(title: &'static str, width: usize, rank: u8, sort: Option<Sort>) -> Column {
    Column {
        title,
        sort,
        right: false,
        width,
        rank,
    }
}

impl Column {
    const fn on_the_right(mut self) -> Self {
        self.right = true;
        self
    }
}

/// In the order of the screen.
pub const COLUMNS: [Column; 10] = [
    column("PROTO", 5, 5, None),
    column("PROCESS", 13, 0, Some(Sort::Name)),
    column("PID", 7, 3, Some(Sort::Pid)).on_the_right(),
    column("REMOTE", 20, 0, None),
    column("LOCAL", 22, 7, None),
    column("STATE", 11, 6, None),
    column("DOWN", 11, 0, Some(Sort::Down)).on_the_right(),
    column("UP", 11, 0, Some(Sort::Up)).on_the_right(),
    column("RTT", 8, 4, None).on_the_right(),
    column("LIMIT", 10, 2, Some(Sort::Limit)).on_the_right(),
];

/// How wide each column is; 0 where there is no room for it. The ends of the connection take what is left over.
pub fn widths(width: usize) -> [usize; 10] {
    let mut rank = u8::MAX;
    let shown = |rank: u8| COLUMNS.iter().filter(move |column| column.rank <= rank);
    let needed = |rank: u8| 1 + shown(rank).map(|column| column.width + 1).sum::<usize>();
    while needed(rank) > width + 1 && rank > 0 {
        let below = shown(rank).map(|column| column.rank).max().unwrap_or(0);
        rank = below.saturating_sub(1);
    }
    let left = (width + 1).saturating_sub(needed(rank));
    let share = left / 2;
    COLUMNS.map(|column| match column.title {
        _ if column.rank > rank => 0,
        "REMOTE" => column.width + share.min(40),
        "LOCAL" => column.width + (left - share).min(24),
        _ => column.width,
    })
}

/// The column that is there in a table of that width.
pub fn at(width: u16, x: u16) -> Option<&'static Column> {
    let mut begins = 1;
    let mut columns = COLUMNS.iter().zip(widths(usize::from(width)));
    let found = columns.find(|(_, width)| {
        let range = begins..begins + width;
        begins += if *width > 0 { width + 1 } else { 0 };
        range.contains(&usize::from(x))
    });
    found.map(|(column, _)| column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_leave_by_importance_and_never_leave_the_screen() {
        let mut before = usize::MAX;
        for width in (60..=400).rev() {
            let widths = widths(width);
            let shown: Vec<usize> = widths.into_iter().filter(|it| *it > 0).collect();
            let used = shown.iter().map(|it| it + 1).sum::<usize>();
            assert!(used <= width, "{width}");
            assert!(shown.len() <= before, "{width}");
            before = shown.len();
        }
        let title = |width, x| at(width, x).map(|column| column.title);
        assert_eq!(title(200, 2), Some("PROTO"));
        assert_eq!((title(80, 0), title(80, 2)), (None, Some("PROCESS")));
    }
}

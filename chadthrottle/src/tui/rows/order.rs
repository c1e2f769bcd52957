//! Which rows are shown, and in which order.

/// What the rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Both rates together.
    #[default]
    Total,
    /// Download rate.
    Down,
    /// Upload rate.
    Up,
    /// Bytes downloaded.
    DownBytes,
    /// Bytes uploaded.
    UpBytes,
    /// Process id.
    Pid,
    /// Name.
    Name,
    /// User.
    User,
    /// Sockets.
    Sockets,
    /// Whether limited, the slowest limit first.
    Limit,
}

impl Sort {
    /// All, in the order of the menu.
    pub const ALL: [Self; 10] = [
        Self::Total,
        Self::Down,
        Self::Up,
        Self::DownBytes,
        Self::UpBytes,
        Self::Pid,
        Self::Name,
        Self::User,
        Self::Sockets,
        Self::Limit,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "down + up",
            Self::Down => "down",
            Self::Up => "up",
            Self::DownBytes => "total down",
            Self::UpBytes => "total up",
            Self::Pid => "pid",
            Self::Name => "name",
            Self::User => "user",
            Self::Sockets => "sockets",
            Self::Limit => "limit",
        }
    }
}

/// Which rows are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// All.
    #[default]
    All,
    /// Those with traffic in the last seconds.
    Busy,
    /// Those with a limit.
    Limited,
}

impl Show {
    /// The one after this.
    pub fn next(self) -> Self {
        match self {
            Self::All => Self::Busy,
            Self::Busy => Self::Limited,
            Self::Limited => Self::All,
        }
    }

    /// Whom it shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Busy => "with traffic",
            Self::Limited => "limited",
        }
    }
}

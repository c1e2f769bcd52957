//! Pictures of the screen for docs/pictures, drawn from the buffers that the terminal would get: `cargo xtask pictures`
//! writes them, and they fail this test where they are stale.

use std::{fmt::Write, fs, path::PathBuf, sync::Arc, time::Duration};

use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
    text::Span,
};

use super::{
    super::{
        fixtures::{key, limit, press, process, rule, snapshot, state},
        inspect::{ConnectionRow, Connections},
        rgb::Rgb,
        state::State,
        update::{Action, update},
    },
    tests::{draw_with, look, with_connections},
};
use crate::{
    config::ThemeName,
    model::{Both, LimitId, ProcessSample, RuleSample, Snapshot},
    process::Connection,
};

/// Set where pictures are to be written.
const WRITE: &str = "CHADTHROTTLE_WRITE_PICTURES";

/// Size of a cell in the picture's units.
const CELL: (u16, u16) = (9, 18);

/// A picture: its name, its theme, the size of the screen, and the keys that lead there.
struct Picture {
    name: &'static str,
    theme: ThemeName,
    size: (u16, u16),
    keys: &'static [&'static str],
}

fn pictures() -> Vec<Picture> {
    let of = |name: &str| ThemeName::Of(name.to_owned());
    let picture = |name, theme, size, keys| Picture {
        name,
        theme,
        size,
        keys,
    };
    let wget = &["/wget", "<Enter>", "<Esc>"];
    vec![
        picture("processes", ThemeName::Dark, (160, 36), wget),
        picture(
            "details",
            ThemeName::Dark,
            (120, 32),
            &["/wget", "<Enter>", "<Right>"],
        ),
        picture(
            "limit",
            ThemeName::Dark,
            (100, 26),
            &["/wget", "<Enter>", "<Enter>", "1.5MB"],
        ),
        picture("connections", ThemeName::Dark, (120, 24), &["4", "j"]),
        picture("rules", ThemeName::Light, (110, 24), &["R", "j"]),
        picture("tree", ThemeName::Light, (110, 28), &["t"]),
        picture("narrow", ThemeName::Dark, (80, 24), &[]),
        picture("catppuccin", of("catppuccin"), (110, 28), wget),
        picture("dracula", of("dracula"), (110, 28), wget),
        picture("gruvbox", of("gruvbox"), (110, 28), wget),
        picture("tokyo-night", of("tokyo-night"), (110, 28), wget),
    ]
}

/// A minute on a machine with a browser, a download that has a limit since half of that, and a backup that has one
/// all the time.
fn minute(size: (u16, u16)) -> State {
    let mut state = state(size.0, size.1, snapshot(Vec::new()));
    for second in 0..60 {
        update(&mut state, Action::Snapshot(at(second)));
    }
    state
}

fn at(second: u32) -> Arc<Snapshot> {
    const MB: f64 = 1e6;
    // From 0 to 1 and back, without a sine, whose last digits differ from machine to machine.
    let wave = |period: u32| {
        let part = f64::from(second % period) / f64::from(period);
        1.0 - (2.0 * part - 1.0).abs()
    };
    // Between 0 and 1, the same at each run.
    let noise = |salt: u32| f64::from((second * 7_919 + salt * 104_729) % 97) / 97.0;
    let of = |pid, parent, name: &str, command: &str, cgroup: &str, down, up| ProcessSample {
        parent,
        command: command.into(),
        cgroup: cgroup.into(),
        ..process(pid, name, down, up)
    };
    let session = "/user.slice/user-1815.slice/session-2.scope";
    let is_limited = second >= 30;
    let down = if is_limited {
        (0.97 + 0.03 * noise(1)) * MB
    } else {
        (3.0 + noise(2)) * MB
    };
    let mut wget = of(
        4242,
        900,
        "wget",
        "wget -c https://mirror.example.org/debian-13.iso",
        session,
        down,
        down / 50.0,
    );
    if is_limited {
        wget.limit = Some((LimitId(1), limit(Some(1_000_000), None)));
    }
    let mut backup = of(
        5100,
        1,
        "restic",
        "restic backup /home",
        "/system.slice/backup.service",
        90.0,
        (0.47 + 0.03 * noise(3)) * MB,
    );
    backup.user = "root".into();
    backup.limit = Some((LimitId(2), limit(Some(2_000_000), Some(500_000))));
    let mut processes = vec![
        of(1, 0, "systemd", "/sbin/init", "/init.scope", 0.0, 0.0),
        of(900, 1, "bash", "-bash", session, 0.0, 0.0),
        of(
            3100,
            1,
            "firefox",
            "/usr/lib/firefox/firefox",
            session,
            (0.4 + 2.4 * wave(23) * noise(4)) * MB,
            (0.05 + 0.2 * wave(23)) * MB,
        ),
        of(
            3120,
            3100,
            "Socket Process",
            "/usr/lib/firefox/firefox -contentproc",
            session,
            0.3 * wave(11) * MB,
            9_000.0,
        ),
        wget,
        backup,
        of(
            5300,
            1,
            "syncthing",
            "syncthing serve --no-browser",
            "/system.slice/syncthing@ada.service",
            (0.02 + 0.1 * noise(5)) * MB,
            (0.1 + 0.3 * wave(17)) * MB,
        ),
        of(
            6001,
            1,
            "postgres",
            "postgres -D /var/lib/postgresql/17/main",
            "/system.slice/postgresql.service",
            1_800.0 * noise(6),
            24_000.0 * noise(7),
        ),
        of(
            6200,
            900,
            "ssh",
            "ssh build.example.org",
            session,
            312.0,
            104.0,
        ),
        of(6210, 900, "vim", "vim notes.txt", session, 0.0, 0.0),
    ];
    processes[1].sockets = 0;
    let mut sample = snapshot(processes);
    Arc::make_mut(&mut sample).rules = rules();
    sample
}

/// What the processes of that minute are connected to.
fn connections() -> Vec<ConnectionRow> {
    const KB: f64 = 1e3;
    let row = |pid, inode, port: u16, remote: &str, name: &str, (down, up), ms| ConnectionRow {
        connection: Connection {
            inode,
            protocol: "tcp".to_owned(),
            local: format!("192.0.2.7:{port}").parse().ok(),
            remote: remote.parse().ok(),
            state: "established".to_owned(),
            bytes: None,
            process: Some(key(pid)),
            round_trip: Some(Duration::from_millis(ms)),
        },
        rates: Some(Both { down, up }),
        name: Some(name).filter(|name| !name.is_empty()).map(Into::into),
    };
    vec![
        row(
            3100,
            1,
            50310,
            "198.51.100.20:443",
            "video.example.com",
            (1_610.0 * KB, 60.0 * KB),
            12,
        ),
        row(
            4242,
            2,
            50312,
            "203.0.113.80:443",
            "mirror.example.org",
            (980.0 * KB, 20.0 * KB),
            23,
        ),
        row(
            5100,
            3,
            50340,
            "203.0.113.9:22",
            "backup.example.net",
            (0.1 * KB, 490.0 * KB),
            41,
        ),
        row(
            5300,
            4,
            22000,
            "198.51.100.77:22000",
            "",
            (90.0 * KB, 280.0 * KB),
            88,
        ),
        row(
            3100,
            5,
            50311,
            "198.51.100.21:443",
            "img.example.com",
            (220.0 * KB, 9.0 * KB),
            14,
        ),
        row(
            6200,
            6,
            50400,
            "192.0.2.90:22",
            "build.example.org",
            (0.3 * KB, 0.1 * KB),
            3,
        ),
        row(
            6001,
            7,
            5432,
            "192.0.2.33:40112",
            "",
            (0.9 * KB, 12.0 * KB),
            1,
        ),
    ]
}

/// Rules of that machine.
fn rules() -> Vec<RuleSample> {
    let mut backup = rule("backup");
    backup.targets = vec!["unit:backup.service".to_owned()];
    backup.limit = limit(Some(2_000_000), Some(500_000));
    (backup.members, backup.carried_today.up) = (1, 4_210_000_000);
    let mut updates = rule("updates");
    updates.targets = vec![
        "exe:/usr/bin/apt*".to_owned(),
        "unit:packagekit.service".to_owned(),
    ];
    updates.when = vec!["Mon-Fri 08:00-18:00".to_owned()];
    updates.why = "on until 18:00".to_owned();
    updates.line = 7;
    let mut games = rule("games");
    games.targets = vec!["name:steam*".to_owned()];
    games.limit = limit(Some(3_000_000), None);
    (games.is_on, games.enabled, games.line) = (false, false, 14);
    games.why = "switched off".to_owned();
    vec![backup, updates, games]
}

fn draw(picture: &Picture) -> String {
    let mut state = minute(picture.size);
    press(&mut state, picture.keys);
    // From here on the connections are known, and which end a process carries most to and from.
    let (connections, more) = (connections(), true);
    let asked = state.snapshot.processes.iter().map(|it| it.key).collect();
    let remotes = connections.clone();
    update(
        &mut state,
        Action::Remotes {
            asked,
            connections: remotes,
        },
    );
    if state.needs_connections() {
        update(
            &mut state,
            Action::Connections(Connections { connections, more }),
        );
    }
    if state.details_shown().is_some() {
        with_connections(&mut state);
    }
    let screen = draw_with(&state, &look(&picture.theme, false));
    let ground = match picture.theme {
        ThemeName::Light => Rgb([0xff; 3]),
        _ => Rgb([0x12; 3]),
    };
    svg(screen.buffer(), ground)
}

/// The buffer as SVG, on that background where it has none of its own.
fn svg(buffer: &Buffer, ground: Rgb) -> String {
    let (width, height) = (buffer.area.width * CELL.0, buffer.area.height * CELL.1);
    let mut svg = String::new();
    let mut put = |line: String| {
        svg.push_str(&line);
        svg.push('\n');
    };
    put(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="15">"#
    ));
    put(format!(
        r#"<rect width="100%" height="100%" fill="{}"/>"#,
        hex(ground)
    ));
    for y in 0..buffer.area.height {
        let cells: Vec<&Cell> = (0..buffer.area.width).map(|x| &buffer[(x, y)]).collect();
        for (x, run) in runs(&cells, back) {
            if let Some(back) = back(run[0]) {
                let (x, y) = (x * CELL.0, y * CELL.1);
                let (width, height) = (run.len() as u16 * CELL.0, CELL.1);
                let fill = hex(back);
                put(format!(
                    r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>"#
                ));
            }
        }
        for (x, run) in runs(&cells, |cell| (cell.fg, bold(cell), is_blank(cell))) {
            if is_blank(run[0]) {
                continue;
            }
            let text: String = run.iter().map(|cell| cell.symbol()).collect();
            let mut escaped = String::new();
            for c in text.trim_end().chars() {
                match c {
                    '<' => escaped.push_str("&lt;"),
                    '>' => escaped.push_str("&gt;"),
                    '&' => escaped.push_str("&amp;"),
                    c => escaped.push(c),
                }
            }
            let width = Span::raw(text.trim_end()).width() as u16 * CELL.0;
            let weight = if bold(run[0]) {
                r#" font-weight="bold""#
            } else {
                ""
            };
            let fill = hex(Rgb::of(run[0].fg).unwrap_or(ground));
            let (x, y) = (x * CELL.0, y * CELL.1 + 13);
            // Each font has its own widths: the columns stay where they are.
            put(format!(
                r#"<text x="{x}" y="{y}" textLength="{width}" lengthAdjust="spacingAndGlyphs" fill="{fill}"{weight} xml:space="preserve">{escaped}</text>"#
            ));
        }
    }
    put("</svg>".to_owned());
    svg
}

/// Neighbours that are alike, each with its column.
fn runs<'a, K: PartialEq>(
    cells: &'a [&'a Cell],
    key: impl Fn(&Cell) -> K,
) -> Vec<(u16, &'a [&'a Cell])> {
    let mut x = 0;
    let chunks = cells.chunk_by(|a, b| key(a) == key(b));
    chunks
        .map(|run| {
            let at = x;
            x += run.len() as u16;
            (at, run)
        })
        .collect()
}

fn is_blank(cell: &Cell) -> bool {
    cell.symbol().trim().is_empty()
}

fn bold(cell: &Cell) -> bool {
    cell.modifier.contains(Modifier::BOLD)
}

fn back(cell: &Cell) -> Option<Rgb> {
    (cell.bg != Color::Reset)
        .then(|| Rgb::of(cell.bg))
        .flatten()
}

fn hex(Rgb(parts): Rgb) -> String {
    let mut text = "#".to_owned();
    for part in parts {
        write!(text, "{part:02x}").unwrap();
    }
    text
}

#[test]
fn pictures_show_the_screen_as_it_is() {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pictures"));
    let write = std::env::var_os(WRITE).is_some();
    if write {
        fs::create_dir_all(&directory).unwrap();
    }
    let mut stale = Vec::new();
    let mut names = Vec::new();
    for picture in pictures() {
        let name = format!("{}.svg", picture.name);
        let path = directory.join(&name);
        let drawn = draw(&picture);
        if write {
            fs::write(&path, drawn).unwrap();
        } else if fs::read_to_string(&path).ok() != Some(drawn) {
            stale.push(name.clone());
        }
        names.push(name);
    }
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !names.contains(&name) {
            if write {
                fs::remove_file(path).unwrap();
            } else {
                stale.push(name);
            }
        }
    }
    assert!(
        stale.is_empty(),
        "stale in docs/pictures, which cargo xtask pictures writes anew: {stale:?}"
    );
}

#[test]
fn text_is_escaped_and_each_run_has_its_place_and_colours() {
    let mut buffer = Buffer::empty(ratatui::layout::Rect::new(0, 0, 8, 1));
    let red = ratatui::style::Style::new().fg(Color::Rgb(255, 0, 0));
    buffer.set_string(2, 0, "<&>", red.bg(Color::Indexed(16)).bold());
    let svg = svg(&buffer, Rgb([1, 2, 3]));
    assert!(svg.contains(r##"<rect width="100%" height="100%" fill="#010203"/>"##));
    assert!(svg.contains(r##"<rect x="18" y="0" width="27" height="18" fill="#000000"/>"##));
    assert!(
        svg.contains(r##"<text x="18" y="13" textLength="27""##),
        "{svg}"
    );
    assert!(svg.contains(
        r##"fill="#ff0000" font-weight="bold" xml:space="preserve">&lt;&amp;&gt;</text>"##
    ));
    assert_eq!(svg.matches("<text").count(), 1);
}

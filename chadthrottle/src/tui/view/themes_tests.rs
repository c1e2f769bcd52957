//! What each theme looks like, on the screen as it is drawn.

use super::*;
use crate::tui::{palette::SHIPPED, rgb::Rgb};

/// All themes that have colours of their own.
fn palettes() -> Vec<ThemeName> {
    let names = SHIPPED.iter().map(|(name, _)| match *name {
        "dark" => ThemeName::Dark,
        "light" => ThemeName::Light,
        name => ThemeName::Of(name.to_owned()),
    });
    names.collect()
}

/// Every colour and modifier on the screen.
fn styles(buffer: &Buffer) -> (BTreeSet<String>, bool) {
    let cells = buffer.content();
    let colours = cells
        .iter()
        .flat_map(|cell| [cell.fg, cell.bg])
        .filter(|colour| *colour != Color::Reset)
        .map(|colour| colour.to_string())
        .collect();
    let reversed = cells
        .iter()
        .any(|cell| cell.modifier.contains(Modifier::REVERSED));
    (colours, reversed)
}

#[test]
fn each_theme_has_its_styles_and_marks_the_selected_row_without_colours() {
    let state = minute((200, 50));
    let of = |name| styles(draw_with(&state, &look(&name, false)).buffer());
    let (mono, reversed) = of(ThemeName::Mono);
    assert!(mono.is_empty() && reversed, "{mono:?}");
    let sixteen = [
        "Black",
        "Red",
        "Green",
        "Yellow",
        "Blue",
        "Magenta",
        "Cyan",
        "Gray",
        "DarkGray",
        "LightRed",
        "LightGreen",
        "LightYellow",
        "LightBlue",
        "LightMagenta",
        "LightCyan",
        "White",
    ];
    let (terminal, reversed) = of(ThemeName::Terminal);
    assert!(reversed && !terminal.is_empty());
    let own = |colour: &String| sixteen.contains(&colour.as_str());
    assert!(terminal.iter().all(own), "{terminal:?}");
    let mut seen = Vec::new();
    for name in palettes() {
        let (colours, reversed) = of(name.clone());
        // Of these the selected row has a background of its own.
        assert!(!reversed && colours.len() >= 8, "{name:?}: {colours:?}");
        seen.push(colours);
    }
    for (at, colours) in seen.iter().enumerate() {
        assert!(
            !seen[at + 1..].contains(colours),
            "two look alike: {colours:?}"
        );
    }
    insta::assert_snapshot!("styles_of_themes", {
        let line = |name: ThemeName| format!("{name:?}: {:?}", of(name.clone()).0);
        let lines = palettes()
            .into_iter()
            .chain([ThemeName::Terminal])
            .map(line);
        lines.collect::<Vec<_>>().join("\n")
    });
    // Terminals of few colours, and of none.
    for name in palettes().into_iter().chain([ThemeName::Terminal]) {
        let [few, none] = [Colours::Sixteen, Colours::None].map(|colours| theme_of(&name, colours));
        let is_dark = name != ThemeName::Light;
        assert_eq!(
            few == theme_of(&ThemeName::Terminal, Colours::Many),
            is_dark
        );
        assert_eq!(none, theme_of(&ThemeName::Mono, Colours::Many));
    }
}

#[test]
fn the_selected_row_has_one_style_from_end_to_end_in_every_view() {
    for name in palettes()
        .into_iter()
        .chain([ThemeName::Terminal, ThemeName::Mono])
    {
        let look = look(&name, false);
        for keys in [&["1"][..], &["2"], &["3"], &["4"], &["5"], &["6"], &["7"]] {
            let mut state = minute((120, 24));
            Arc::make_mut(&mut state.snapshot).rules = vec![rule("browser")];
            press(&mut state, keys);
            if state.needs_connections() {
                update(&mut state, views::connections());
            }
            let terminal = draw_with(&state, &look);
            let buffer = terminal.buffer();
            let rows = state.areas().rows;
            let y = match state.rule_cursor {
                Some(_) => line_with(buffer, "[x]"),
                None => rows.y + u16::try_from(state.cursor - state.offset).unwrap(),
            };
            let styles: BTreeSet<String> = (rows.left()..rows.right())
                .map(|x| &buffer[(x, y)])
                .map(|cell| format!("{:?} {:?} {:?}", cell.fg, cell.bg, cell.modifier))
                .collect();
            assert_eq!(styles.len(), 1, "{name:?} {keys:?}: {styles:?}");
            let selected = look.theme.selected;
            let cell = &buffer[(rows.left(), y)];
            assert_eq!(cell.bg, selected.bg.unwrap_or(Color::Reset), "{name:?}");
        }
    }
}

/// The first line that has these words.
fn line_with(buffer: &Buffer, words: &str) -> u16 {
    let area = buffer.area;
    let has = |y: &u16| {
        let cells = (area.left()..area.right()).map(|x| buffer[(x, *y)].symbol());
        cells.collect::<String>().contains(words)
    };
    (area.top()..area.bottom()).find(has).unwrap()
}

/// On the screen as it is drawn, whatever stands on whatever.
#[test]
fn everything_on_the_screen_can_be_read_in_every_theme() {
    const LEAST: f64 = 4.5;
    for name in palettes() {
        let look = look(&name, false);
        let ground = match (look.theme.text.bg, &name) {
            (Some(ground), _) => Rgb::of(ground).unwrap(),
            (None, ThemeName::Light) => Rgb([0xff; 3]),
            (None, _) => Rgb([0x1e; 3]),
        };
        for keys in [
            &["j"][..],
            &["/wget", "<Enter>", "<Right>"],
            &["/wget", "<Enter>", "<<<<"],
            &["<Enter>", "1MB", "<Tab>", "5kbps"],
            &["?"],
            &["X"],
            &["s"],
            &[":", "limit"],
            &["R"],
            &["4"],
            &["t", " ", "["],
        ] {
            let mut state = minute((200, 50));
            Arc::make_mut(&mut state.snapshot).rules = vec![rule("backup"), rule("updates")];
            press(&mut state, keys);
            if state.needs_connections() {
                update(&mut state, views::connections());
            }
            let screen = draw_with(&state, &look);
            for cell in screen.buffer().content() {
                if cell.symbol().trim().is_empty() {
                    continue;
                }
                let of = |colour| Rgb::of(colour).unwrap_or(ground);
                let contrast = of(cell.fg).contrast(of(cell.bg));
                assert!(
                    contrast >= LEAST,
                    "{name:?} {keys:?}: {cell:?} {contrast:.2}"
                );
            }
        }
    }
}

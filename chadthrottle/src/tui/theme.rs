//! Colours. Colour never carries a meaning alone.

use ratatui::style::{Color, Modifier, Style};

use super::{
    colours::Colours,
    palette::{Paint, Palette, SHIPPED},
    rgb::Rgb,
};
use crate::{
    config::{ConfigError, ThemeName, theme_file},
    model::Both,
};

/// What a theme is made of, before it is known what the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Bold and reversed are all there is.
    Mono,
    /// The terminal's own 16 colours.
    Terminal,
    /// Those of a file.
    Of(Palette),
    /// The first for a dark background, the second for a light one.
    Either([Palette; 2]),
}

impl Scheme {
    /// That of this name: a file of the user, of the system, or one that comes with ChadThrottle.
    ///
    /// # Errors
    /// Where there is none, or it cannot be used.
    pub fn load(name: &ThemeName) -> Result<Self, ConfigError> {
        Ok(match name {
            ThemeName::Mono => Self::Mono,
            ThemeName::Terminal => Self::Terminal,
            ThemeName::Dark => Self::Of(palette("dark")?),
            ThemeName::Light => Self::Of(palette("light")?),
            ThemeName::Of(name) => Self::Of(palette(name)?),
            ThemeName::Auto => Self::Either([palette("dark")?, palette("light")?]),
        })
    }

    /// The styles, or the nearest for which the terminal has the colours, whose background is asked for where it
    /// matters.
    pub fn theme(&self, colours: Colours, background: impl FnOnce() -> Option<Rgb>) -> Theme {
        let is_light = || background().is_some_and(Rgb::is_light);
        match (self, colours) {
            (Self::Mono, _) | (_, Colours::None) => Theme::mono(),
            (Self::Of(palette), Colours::Sixteen) => Theme::terminal(palette.is_for_light()),
            (Self::Terminal, _) | (_, Colours::Sixteen) => Theme::terminal(is_light()),
            (Self::Of(palette), colours) => Theme::of(palette, colours),
            (Self::Either([dark, light]), colours) => {
                Theme::of(if is_light() { light } else { dark }, colours)
            }
        }
    }
}

fn palette(name: &str) -> Result<Palette, ConfigError> {
    if let Some(palette) = theme_file(name)? {
        return Ok(palette);
    }
    let shipped = SHIPPED.iter().find(|(other, _)| *other == name);
    shipped
        .and_then(|(_, text)| toml::from_str(text).ok())
        .ok_or_else(|| ConfigError::NoTheme(name.to_owned()))
}

/// The styles of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// All that has no style of its own.
    pub text: Style,
    /// Name of the program, titles of columns, panels and boxes.
    pub title: Style,
    /// The selected row.
    pub selected: Style,
    /// The mark of a tagged row.
    pub tag: Style,
    /// Rates of each direction.
    pub traffic: Both<Style>,
    /// A limit.
    pub limit: Style,
    /// What is held back right now.
    pub held: Style,
    /// Behind the graph of time that was held back.
    pub shade: Style,
    /// What matters less: idle, ended, explanations.
    pub dim: Style,
    /// A key in the footer and the help.
    pub key: Style,
    /// Edges of panels, axes of graphs.
    pub border: Style,
    /// Something failed, or needs to be known.
    pub error: Style,
}

impl Theme {
    fn of(palette: &Palette, colours: Colours) -> Self {
        let shown = |paint: Paint| match paint.0 {
            Color::Rgb(red, green, blue) if colours < Colours::All => {
                Color::Indexed(Rgb([red, green, blue]).nearest())
            }
            colour => colour,
        };
        let style = |paint| Style::new().fg(shown(paint));
        let bold = |paint| style(paint).add_modifier(Modifier::BOLD);
        let text = style(palette.text);
        Self {
            text: match palette.background {
                Some(background) => text.bg(shown(background)),
                None => text,
            },
            title: bold(palette.title),
            selected: bold(palette.selected.text).bg(shown(palette.selected.background)),
            tag: bold(palette.held),
            traffic: Both {
                down: style(palette.down),
                up: style(palette.up),
            },
            limit: style(palette.limit),
            held: bold(palette.held),
            shade: Style::new().bg(shown(palette.shade)),
            dim: style(palette.dim),
            key: bold(palette.key),
            border: style(palette.border),
            error: bold(palette.error),
        }
    }

    /// The terminal's own 16 colours, of which few can be read on white.
    fn terminal(is_light: bool) -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let on_light = Self {
            traffic: Both {
                down: plain.fg(Color::Blue),
                up: plain.fg(Color::Magenta),
            },
            dim: plain.fg(Color::DarkGray),
            border: plain.fg(Color::DarkGray),
            error: bold.fg(Color::Red),
            ..Self::mono()
        };
        if is_light {
            return on_light;
        }
        Self {
            text: plain,
            title: bold.fg(Color::Cyan),
            selected: plain.add_modifier(Modifier::REVERSED),
            tag: bold.fg(Color::Yellow),
            traffic: Both {
                down: plain.fg(Color::Green),
                up: plain.fg(Color::Magenta),
            },
            limit: plain.fg(Color::Yellow),
            held: bold.fg(Color::Yellow),
            shade: plain,
            dim: plain.fg(Color::DarkGray),
            key: bold.fg(Color::Cyan),
            border: plain.fg(Color::DarkGray),
            error: bold.fg(Color::Red),
        }
    }

    fn mono() -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        Self {
            text: plain,
            title: bold,
            selected: plain.add_modifier(Modifier::REVERSED),
            tag: bold,
            traffic: Both {
                down: plain,
                up: plain,
            },
            limit: bold,
            held: bold,
            shade: plain,
            dim: plain.add_modifier(Modifier::DIM),
            key: bold,
            border: plain,
            error: bold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> Palette {
        let (_, text) = SHIPPED.iter().find(|(other, _)| *other == name).unwrap();
        toml::from_str(text).unwrap()
    }

    #[test]
    fn everything_on_the_screen_can_be_read_in_every_theme() {
        /// WCAG 2 asks it of text.
        const LEAST: f64 = 4.5;
        let mut unreadable = Vec::new();
        for (name, _) in SHIPPED {
            let palette = shipped(name);
            for colours in [Colours::Many, Colours::All] {
                let theme = Theme::of(&palette, colours);
                let of = |colour: Option<Color>| Rgb::of(colour.unwrap()).unwrap();
                // Where the terminal's background stays: those that terminals of that kind have.
                let grounds = match (theme.text.bg, name) {
                    (Some(ground), _) => vec![of(Some(ground))],
                    (None, "light") => vec![Rgb([0xff; 3]), Rgb([0xf5; 3])],
                    (None, _) => vec![Rgb([0; 3]), Rgb([0x1e; 3])],
                };
                let everywhere = [
                    ("text", theme.text),
                    ("title", theme.title),
                    ("tag", theme.tag),
                    ("down", theme.traffic.down),
                    ("up", theme.traffic.up),
                    ("limit", theme.limit),
                    ("held", theme.held),
                    ("dim", theme.dim),
                    ("key", theme.key),
                    ("border", theme.border),
                    ("error", theme.error),
                ];
                let mut pairs = vec![("selected", theme.selected.fg, of(theme.selected.bg))];
                for ground in grounds {
                    pairs.extend(everywhere.map(|(what, style)| (what, style.fg, ground)));
                }
                for (what, style) in [
                    ("down, shaded", theme.traffic.down),
                    ("up, shaded", theme.traffic.up),
                    ("limit, shaded", theme.limit),
                ] {
                    pairs.push((what, style.fg, of(theme.shade.bg)));
                }
                for (what, front, ground) in pairs {
                    let contrast = of(front).contrast(ground);
                    if contrast < LEAST {
                        unreadable.push(format!(
                            "{name} {colours:?} {what} on {ground:02x?}: {contrast:.2}"
                        ));
                    }
                }
            }
        }
        assert!(unreadable.is_empty(), "{unreadable:#?}");
    }

    #[test]
    fn a_file_says_all_colours_but_the_background_and_a_mistake_is_told() {
        let dark = SHIPPED[0].1;
        let of = |text: &str| toml::from_str::<Palette>(text);
        assert_eq!(of(dark).unwrap().background, None);
        assert_eq!(of(dark).unwrap().down, Paint(Color::Rgb(0x87, 0xd7, 0x87)));
        let with = |before: &str, after: &str| {
            let text = dark.replacen(before, after, 1);
            assert_ne!(text, dark);
            of(&text).unwrap_err().to_string()
        };
        assert!(with("down = \"#87d787\"\n", "").contains("down"));
        assert!(with("#87d787", "leaf green").contains("a colour is"));
        assert!(with("down =", "download =").contains("download"));
        let named = dark.replacen("#87d787", "green", 1);
        assert_eq!(of(&named).unwrap().down, Paint(Color::Green));
    }

    #[test]
    fn the_background_decides_between_dark_and_light_and_is_dark_where_nobody_says() {
        let pair = [shipped("dark"), shipped("light")];
        let of = |background| {
            let theme = Scheme::Either(pair).theme(Colours::All, || background);
            pair.map(|palette| Theme::of(&palette, Colours::All) == theme)
        };
        assert_eq!(of(None), [true, false]);
        assert_eq!(of(Some(Rgb([0x10; 3]))), [true, false]);
        assert_eq!(of(Some(Rgb([0xfd, 0xf6, 0xe3]))), [false, true]);
        let asked = |scheme: Scheme| scheme.theme(Colours::Many, || panic!("it does not matter"));
        asked(Scheme::Of(pair[0]));
        let asked = |scheme: Scheme| scheme.theme(Colours::Sixteen, || panic!("its text says it"));
        for (palette, is_light) in pair.into_iter().zip([false, true]) {
            assert_eq!(asked(Scheme::Of(palette)), Theme::terminal(is_light));
            let background = Some(Rgb([if is_light { 0xff } else { 0 }; 3]));
            for scheme in [Scheme::Terminal, Scheme::Either(pair)] {
                let theme = scheme.theme(Colours::Sixteen, || background);
                assert_eq!(theme, Theme::terminal(is_light), "{scheme:?}");
            }
        }
    }

    #[test]
    fn of_16_colours_those_that_cannot_be_read_on_white_are_not_used_there() {
        let styles = format!("{:?}", Theme::terminal(true));
        assert!(styles.contains("blue()"), "{styles}");
        for colour in ["yellow", "cyan", "green", "white"] {
            assert!(!styles.contains(colour), "{styles}");
        }
    }

    #[test]
    fn there_is_none_of_another_name() {
        let error = Scheme::load(&ThemeName::Of("no-such-theme".to_owned())).unwrap_err();
        assert!(error.to_string().contains("no-such-theme"), "{error}");
    }
}

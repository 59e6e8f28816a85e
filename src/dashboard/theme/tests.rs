use super::*;

fn luminance(rgb: [u8; 3]) -> f64 {
    let [r, g, b] = rgb.map(|channel| {
        let c = f64::from(channel) / 255.0;
        if c <= 0.04045 {
            c / 12.92
        } else {
            ((c + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

/// The contrast ratio of WCAG 2.
fn contrast(a: Color, b: Color) -> f64 {
    let of = |colour| luminance(colour::rgb(colour).unwrap());
    let (a, b) = (of(a), of(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn every_theme_has_every_role_and_enough_contrast() {
    for name in Theme::names() {
        let theme = Theme::built_in(name).unwrap();
        for role in Role::ALL {
            let style = theme.style(*role);
            if name == "monochrome" {
                assert_eq!((style.fg, style.bg), (None, None), "{role:?}");
                continue;
            }
            let wanted = match role {
                Role::Muted
                | Role::Border
                | Role::Stale
                | Role::ChartCompare
                | Role::ChartPartial => 3.0,
                _ => 4.5,
            };
            let fg = style.fg.unwrap_or(theme.base().fg.unwrap());
            let bg = style.bg.unwrap_or(theme.background);
            let ratio = contrast(fg, bg);
            assert!(ratio >= wanted, "{name} {role:?}: {ratio:.2} < {wanted}");
        }
    }
}

#[test]
fn what_means_something_can_be_read_on_every_background() {
    for name in Theme::names().filter(|name| *name != "monochrome") {
        let theme = Theme::built_in(name).unwrap();
        let on = |ground: Role, role: Role, wanted: f64| {
            let fg = theme.style(role).fg.unwrap();
            let ratio = contrast(fg, theme.style(ground).bg.unwrap());
            assert!(ratio >= wanted, "{name} {role:?} on {ground:?}: {ratio:.2}");
        };
        let classes = ["oltp", "olap", "refresh", "maintenance"];
        let classes = classes.map(|class| Role::of_class(class).unwrap());
        for role in classes.into_iter().chain([Role::Warning, Role::Danger]) {
            on(Role::Selection, role, 4.0);
        }
        for role in [Role::Title, Role::Header, Role::Key, Role::Warning] {
            on(Role::Popup, role, 4.0);
        }
        on(Role::Popup, Role::Muted, 3.0);
    }
}

#[test]
fn severities_and_signs_differ_without_colour() {
    let theme = Theme::built_in("monochrome").unwrap();
    let groups: [&[Role]; 3] = [
        &[Role::Text, Role::Warning, Role::Danger, Role::Stale],
        &[Role::Border, Role::BorderFocus],
        &[Role::Text, Role::Selection, Role::Match, Role::Muted],
    ];
    for group in groups {
        for (position, role) in group.iter().enumerate() {
            for other in group.iter().skip(position + 1) {
                assert_ne!(
                    theme.style(*role),
                    theme.style(*other),
                    "{role:?} {other:?}"
                );
            }
        }
    }
}

#[test]
fn a_broken_theme_names_the_nearest() {
    let (_, dark) = built_in().find(|(name, _)| *name == DEFAULT).unwrap();
    let reason = |text: &str| Theme::parse("mine", text).unwrap_err().reason;
    assert_eq!(
        reason(&format!("{dark}\nwaning = {{ fg = 1 }}\n")),
        "unknown role waning; the nearest is warning"
    );
    let without = |role: &str| {
        let kept = |line: &&str| !line.starts_with(&format!("{role} "));
        dark.lines().filter(kept).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(reason(&without("danger")), "role danger is missing");
    assert!(reason(&without("background")).starts_with("background is missing"));
    let with = |line: &str| format!("{}\n{line}", without("danger"));
    assert_eq!(
        reason(&with("danger = { fg = \"ligth-red\" }")),
        "danger: unknown colour \"ligth-red\"; the nearest is light-red"
    );
    assert!(reason(&with("danger = { fg = \"#12345\" }")).contains("unknown colour"));
    assert!(reason(&with("danger = { fg = 256 }")).contains("not between 0 and 255"));
    assert!(reason(&with("danger = { modifiers = [\"blod\"] }")).contains("nearest is bold"));
    assert!(reason(&with("danger = { foreground = 1 }")).contains("unknown key foreground"));
    assert!(reason(&with("danger = 3")).contains("must be a table"));
    assert!(
        Theme::built_in("drak")
            .unwrap_err()
            .to_string()
            .contains("nearest is dark")
    );
}

#[test]
fn colours_are_read_in_three_ways() {
    assert_eq!(colour::parse("#ff8000"), Some(Color::Rgb(255, 128, 0)));
    assert_eq!(colour::parse("Bright_Red"), Some(Color::LightRed));
    assert_eq!(colour::parse("208"), Some(Color::Indexed(208)));
    assert_eq!(colour::parse("#ééé"), None);
}

#[test]
fn fewer_colours_keep_the_distinctions() {
    for name in Theme::names() {
        let theme = Theme::built_in(name).unwrap();
        assert_eq!(theme.adapt(Depth::True), theme);
        for depth in [Depth::Ansi256, Depth::Ansi16, Depth::Mono] {
            let adapted = theme.adapt(depth);
            let signs = [Role::Ok, Role::Warning, Role::Danger].map(|role| adapted.style(role));
            if depth != Depth::Mono && name != "monochrome" {
                assert!(
                    signs[0] != signs[1] && signs[1] != signs[2],
                    "{name} {depth:?}"
                );
            }
            assert_ne!(
                adapted.style(Role::Selection),
                adapted.style(Role::Text),
                "{name} {depth:?}"
            );
            for role in Role::ALL {
                let style = adapted.style(*role);
                let drawn = style.fg.or(adapted.base().fg);
                assert!(
                    drawn.is_none() || drawn != style.bg.or(Some(adapted.background)),
                    "{name} {depth:?} {role:?} {style:?}"
                );
            }
        }
    }
    assert_eq!(
        Depth::Ansi256.nearest(Color::Rgb(255, 95, 0)),
        Color::Indexed(202)
    );
    assert_eq!(
        Depth::Ansi16.nearest(Color::Rgb(0x7e, 0xe7, 0x87)),
        Color::LightGreen
    );
}

#[test]
fn the_environment_says_how_many_colours_there_are() {
    let depth = |pairs: &'static [(&str, &str)]| {
        Depth::detect(&move |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        })
    };
    assert_eq!(
        depth(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor")]),
        Depth::Mono
    );
    assert_eq!(
        depth(&[("NO_COLOR", ""), ("COLORTERM", "truecolor")]),
        Depth::True
    );
    assert_eq!(depth(&[("TERM", "xterm-256color")]), Depth::Ansi256);
    assert_eq!(depth(&[("TERM", "xterm-kitty")]), Depth::True);
    assert_eq!(depth(&[("TERM", "linux")]), Depth::Ansi16);
    assert_eq!(depth(&[("TERM", "vt220")]), Depth::Mono);
    assert_eq!(depth(&[]), Depth::Ansi16);
}

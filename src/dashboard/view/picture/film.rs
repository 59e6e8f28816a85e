//! Screens one after another, as one picture that moves (SVG with an animation in its style sheet).

use super::canvas::Canvas;
use super::{ASCENT, H, Picture, body, escaped, head, number};
use serde::Deserialize;
use std::fmt::Write as _;

/// Height of the caption below the screen.
const CAPTION: f64 = 26.0;

/// A screen that is shown for a while.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Frame {
    /// What is to be seen, below the screen.
    caption: String,
    /// How long it is shown.
    seconds: f64,
    picture: Picture,
}

/// Screens of the same size, shown in turn without an end.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Film {
    title: String,
    frames: Vec<Frame>,
}

impl Film {
    /// Returns the document. Where nothing moves, by the reader's wish or the viewer's ability, it is the first frame.
    ///
    /// # Errors
    /// A sentence if there is no frame, a frame takes no time, or sizes differ.
    pub(crate) fn svg(&self) -> Result<String, String> {
        let first = self.frames.first().ok_or("a film has at least one frame")?;
        let (size, paper) = (first.picture.size, first.picture.paper);
        if self.frames.iter().any(|frame| frame.picture.size != size) {
            return Err("the frames of a film have one size".into());
        }
        if !self.frames.iter().all(|frame| frame.seconds > 0.0) {
            return Err("each frame of a film takes more than 0 seconds".into());
        }
        let whole: f64 = self.frames.iter().map(|frame| frame.seconds).sum();
        let mut canvas = Canvas::on(paper);
        let (mut styles, mut groups, mut before) = (String::new(), String::new(), 0.0);
        for (n, frame) in self.frames.iter().enumerate() {
            canvas.clear();
            canvas.picture(&frame.picture);
            let _ = writeln!(groups, "<g class=\"f f{n}\">");
            canvas.write_shapes(&mut groups);
            let y = f64::from(size.1) * H + (CAPTION - H) / 2.0 + ASCENT;
            let caption = escaped(&frame.caption);
            let _ = writeln!(
                groups,
                "<text class=\"caption\" x=\"0\" y=\"{}\">{caption}</text></g>",
                number(y)
            );
            let share = |seconds: f64| number(100.0 * seconds / whole);
            let (from, to) = (share(before), share(before + frame.seconds));
            before += frame.seconds;
            let shown = "{visibility:visible}";
            let hidden = "{visibility:hidden}";
            // One that begins or ends with the whole has one change less.
            let until = if n == 0 { "" } else { "0%{visibility:hidden}" };
            let after = if n + 1 == self.frames.len() {
                String::new()
            } else {
                format!("{to}%{hidden}")
            };
            let _ = writeln!(styles, "@keyframes k{n}{{{until}{from}%{shown}{after}}}");
            let _ = writeln!(styles, ".f{n}{{animation-name:k{n}}}");
        }
        let seconds = number(whole);
        let ink = first.picture.ink();
        let mut out = head(&self.title, size, CAPTION);
        let _ = writeln!(
            out,
            ".caption{{fill:{ink};font-weight:bold}}\n.f{{visibility:hidden;animation:{seconds}s step-end infinite}}\n\
             .f0{{visibility:visible}}"
        );
        out.push_str(&styles);
        out.push_str("@media (prefers-reduced-motion:reduce){.f{animation:none}}\n");
        canvas.write_styles(&mut out);
        body(&mut out, paper, &groups);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn film(seconds: [f64; 2], columns: [u16; 2]) -> Film {
        let picture = |text: &str, columns: u16| {
            serde_json::json!({
                "title": "t", "size": [columns, 1], "paper": "#000000",
                "rows": [[[0, text, 1, "#ffffff", "#000000", [false, false, false, false]]]],
            })
        };
        let [one, two] = seconds;
        let film = serde_json::json!({"title": "<film>", "frames": [
            {"caption": "first & best", "seconds": one, "picture": picture("a", columns[0])},
            {"caption": "second", "seconds": two, "picture": picture("b", columns[1])},
        ]});
        serde_json::from_value(film).unwrap()
    }

    #[test]
    fn frames_are_shown_in_turn() {
        let svg = film([1.0, 3.0], [4, 4]).svg().unwrap();
        for part in [
            "<title>&lt;film&gt;</title>",
            "@keyframes k0{0%{visibility:visible}25%{visibility:hidden}}",
            "@keyframes k1{0%{visibility:hidden}25%{visibility:visible}}",
            "animation:4s step-end infinite",
            ">first &amp; best</text></g>",
            ">b</text>",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        // One style for what looks the same in all frames.
        assert!(!svg.contains(".c1{"), "{svg}");
    }

    #[test]
    fn what_is_no_film_is_refused() {
        assert!(film([1.0, 0.0], [4, 4]).svg().is_err());
        assert!(film([1.0, 1.0], [4, 5]).svg().is_err());
        let none: Film =
            serde_json::from_value(serde_json::json!({"title": "t", "frames": []})).unwrap();
        assert!(none.svg().is_err());
    }
}

//! The last minutes as a picture: p99 against its target, and sessions.

use crate::dashboard::model::Model;
use crate::dashboard::rows::Panel;
use crate::dashboard::view::picture::{escaped, number};
use crate::format;
use std::fmt::Write as _;

/// Minutes that the chart shows at most.
const MINUTES: f64 = 15.0;
/// Width and height of the drawing, and of each of its two graphs.
const SIZE: (f64, f64) = (900.0, 420.0);
const GRAPH: (f64, f64) = (760.0, 130.0);
/// Left edge of both graphs, and the upper edge of each.
const LEFT: f64 = 90.0;
const TOPS: [f64; 2] = [50.0, 240.0];

/// A line: its name, colour and weight, and its figures, oldest first.
type Line<'a> = (&'a str, (&'a str, f64), Vec<Option<f64>>);

/// A graph: its title, its lines with their names and colours, and its target.
struct Graph<'a> {
    title: &'a str,
    lines: &'a [Line<'a>],
    target: Option<f64>,
    write: fn(f64) -> String,
}

/// Draws p99 and the sessions before the model's moment; `None` if nothing was measured.
pub(super) fn svg(model: &Model, title: &str) -> Option<String> {
    let history = &model.history;
    let feed = model.feed_of(Panel::Database)?;
    let step_s = model.pace(feed).as_secs_f64().max(0.1);
    let count = (MINUTES * 60.0 / step_s).round() as usize;
    let p99 = [("p99", ("#c2410c", 1.8), history.p99.last(count))];
    let sessions = [
        ("executing", ("#93c5fd", 5.0), history.active.last(count)),
        (
            "waiting for a lock",
            ("#b91c1c", 1.8),
            history.waiting.last(count),
        ),
    ];
    let measured = |lines: &[Line<'_>]| {
        let mut figures = lines.iter().flat_map(|(_, _, line)| line);
        figures.any(Option::is_some)
    };
    if !measured(&p99) && !measured(&sessions) {
        return None;
    }
    let (width, height) = (number(SIZE.0), number(SIZE.1));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n<title>{}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escaped(title)
    );
    let graphs = [
        Graph {
            title: "p99 of the point query (dashed: its target)",
            lines: &p99,
            target: Some(model.config.targets.oltp_p99_ms),
            write: format::ms,
        },
        Graph {
            title: "sessions (executing blue, waiting for a lock red)",
            lines: &sessions,
            target: None,
            write: format::count,
        },
    ];
    for (graph, top) in graphs.iter().zip(TOPS) {
        graph.draw(top, &mut out);
    }
    let last_ms = model.now.epoch_ms as f64;
    let samples = p99.iter().map(|(_, _, line)| line.len()).max().unwrap_or(0);
    let length_s = samples.saturating_sub(1).max(1) as f64 * step_s;
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at_s = last_ms / 1000.0 - length_s * (1.0 - share);
        let time = format::time_of_day(at_s, model.start.utc_offset_s);
        let x = number(LEFT + GRAPH.0 * share);
        let y = number(TOPS[1] + GRAPH.1 + 22.0);
        let _ = writeln!(
            out,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#374151\">{time}</text>"
        );
    }
    out.push_str("</svg>\n");
    Some(out)
}

impl Graph<'_> {
    fn draw(&self, top: f64, out: &mut String) {
        let figures = self.lines.iter().flat_map(|(_, _, line)| line);
        let highest = figures
            .flatten()
            .copied()
            .filter(|figure| figure.is_finite());
        let highest = highest.fold(self.target.unwrap_or(1.0), f64::max).max(1e-9);
        let y_of = |figure: f64| top + GRAPH.1 * (1.0 - figure / highest);
        let text = |x: f64, y: f64, anchor: &str, text: &str| {
            format!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\" fill=\"#374151\">{}</text>\n",
                number(x),
                number(y),
                escaped(text)
            )
        };
        out.push_str(&text(LEFT, top - 12.0, "start", self.title));
        for figure in [0.0, highest / 2.0, highest] {
            let y = number(y_of(figure));
            let (left, right) = (number(LEFT), number(LEFT + GRAPH.0));
            let _ = writeln!(
                out,
                "<path d=\"M{left} {y}H{right}\" stroke=\"#d1d5db\" stroke-width=\"1\"/>"
            );
            let label = if figure > 0.0 {
                (self.write)(figure)
            } else {
                "0".to_owned()
            };
            out.push_str(&text(LEFT - 8.0, y_of(figure) + 4.0, "end", &label));
        }
        if let Some(target) = self.target {
            let (left, y, right) = (number(LEFT), number(y_of(target)), number(LEFT + GRAPH.0));
            let _ = writeln!(
                out,
                "<path d=\"M{left} {y}H{right}\" stroke=\"#15803d\" stroke-width=\"1.5\" stroke-dasharray=\"6 4\"/>"
            );
        }
        for (name, (colour, weight), line) in self.lines {
            let path = path(line, y_of);
            let _ = writeln!(
                out,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{weight}\"><title>{name}</title></path>"
            );
        }
    }
}

/// The path of a line; it is broken where nothing was measured.
fn path(line: &[Option<f64>], y_of: impl Fn(f64) -> f64) -> String {
    let steps = line.len().saturating_sub(1).max(1) as f64;
    let (mut path, mut drawing) = (String::new(), false);
    for (at, figure) in line.iter().enumerate() {
        let figure = figure.filter(|figure| figure.is_finite());
        if let Some(figure) = figure {
            let x = LEFT + GRAPH.0 * at as f64 / steps;
            let command = if drawing { 'L' } else { 'M' };
            let _ = write!(path, "{command}{} {}", number(x), number(y_of(figure)));
        }
        drawing = figure.is_some();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_a_gap() {
        let line = [Some(1.0), Some(2.0), None, Some(f64::NAN), Some(3.0)];
        let path = path(&line, |figure| figure);
        assert_eq!(path, "M90 1L280 2M850 3");
    }
}

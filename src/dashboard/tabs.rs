//! The row of tabs, one for each server: its contents and its order.

use super::diagnosis::Health;
use super::event::Moment;
use super::theme::Colour;
use crate::text::{self, Clean};
use std::cmp::Reverse;

/// Seconds after a key has shown another server in which the tabs keep their places.
const TOUCHED_S: f64 = 5.0;
/// Minimum number of seconds between two changes of the order.
const APART_S: f64 = 10.0;

/// A server among several.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Its number, from 1; never changes.
    pub number: usize,
    /// Its name.
    pub name: Clean,
    /// Colour of its name.
    pub colour: Option<Colour>,
}

/// Contents of a tab.
#[derive(Clone, Debug, PartialEq)]
pub struct Tab {
    /// The server.
    pub place: Place,
    /// Its target, as in the header of the screen.
    pub target: Clean,
    /// True if it is the server shown.
    pub shown: bool,
    /// Its worst state.
    pub health: Health,
    /// The worst figure, with its target; empty if none is missed.
    pub figure: String,
    /// The rule that names the cause, in words; empty if none does.
    pub rule: String,
    /// The cause line.
    pub sentence: String,
}

/// Text of a tab, as much as there is room for, and where it is in the row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Label<'a> {
    pub(crate) tab: &'a Tab,
    pub(crate) name: String,
    /// Empty if there is no room for it.
    pub(crate) figure: &'a str,
    /// Empty if there is no room for it.
    pub(crate) rule: &'a str,
    /// First column.
    pub(crate) x: usize,
}

impl<'a> Label<'a> {
    fn of(tab: &'a Tab, detail: Detail) -> Self {
        Self {
            tab,
            name: text::cut(tab.place.name.as_str(), detail.name).into(),
            figure: if detail.figure { &tab.figure } else { "" },
            rule: if detail.rule { &tab.rule } else { "" },
            x: 0,
        }
    }

    /// Columns that it takes: `[1 ✔ name figure rule]`.
    pub(crate) fn width(&self) -> usize {
        let more = [self.figure, self.rule].into_iter();
        let more = more.filter(|text| !text.is_empty());
        let more: usize = more.map(|text| 1 + text::width(text)).sum();
        let number = self.tab.place.number.to_string().len();
        number + text::width(&self.name) + more + 5
    }
}

/// Length of a tab's text.
#[derive(Clone, Copy)]
struct Detail {
    /// Maximum width of the name, in columns.
    name: usize,
    figure: bool,
    rule: bool,
}

impl Detail {
    const fn new(name: usize, figure: bool, rule: bool) -> Self {
        Self { name, figure, rule }
    }
}

const LEAST: Detail = Detail::new(10, false, false);
/// From the most text to the least.
const DETAILS: [Detail; 4] = [
    Detail::new(24, true, true),
    Detail::new(24, true, false),
    Detail::new(10, true, false),
    LEAST,
];

/// Returns the tabs that fit into a row of this width, the shown one among them, and the number of the others.
pub(crate) fn row(tabs: &[Tab], width: u16) -> (Vec<Label<'_>>, usize) {
    let width = usize::from(width);
    let labels = |detail| -> Vec<_> { tabs.iter().map(|tab| Label::of(tab, detail)).collect() };
    let fits = |labels: &Vec<Label<'_>>| labels.iter().map(Label::width).sum::<usize>() <= width;
    let whole = DETAILS.into_iter().map(labels).find(fits);
    let mut row = whole.unwrap_or_else(|| {
        let labels = labels(LEAST);
        let shown = labels.iter().find(|label| label.tab.shown);
        let counter = format!(" +{} ", tabs.len()).len();
        let mut room = width.saturating_sub(counter + shown.map_or(0, Label::width));
        let mut full = false;
        let kept = labels.into_iter().filter(|label| {
            full |= !label.tab.shown && label.width() > room;
            if !label.tab.shown && !full {
                room -= label.width();
            }
            label.tab.shown || !full
        });
        kept.collect()
    });
    let mut x = 0;
    for label in &mut row {
        label.x = x;
        x += label.width();
    }
    let left_out = tabs.len() - row.len();
    (row, left_out)
}

/// The order of the tabs: the worst first, the others by number.
///
/// It changes rarely, so that no tab moves away from under the user's fingers: not for [`TOUCHED_S`] after a key has
/// shown another server, and at most once in [`APART_S`].
#[derive(Clone, Debug)]
pub struct Order {
    numbers: Vec<usize>,
    changed: Moment,
    touched: Option<Moment>,
}

impl Order {
    /// Returns the order of `count` servers before anything is known about them.
    pub fn new(count: usize) -> Self {
        Self {
            numbers: (1..=count).collect(),
            changed: Moment::default(),
            touched: None,
        }
    }

    /// The servers' numbers from left to right.
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// A key has shown another server.
    pub fn touch(&mut self, now: Moment) {
        self.touched = Some(now);
    }

    /// Moves the worst to the front, if the order may change now.
    pub fn settle(&mut self, now: Moment, health: impl Fn(usize) -> Health) {
        let touched = self.touched.is_some_and(|at| now.since(at) < TOUCHED_S);
        if touched || now.since(self.changed) < APART_S {
            return;
        }
        let mut numbers = self.numbers.clone();
        numbers.sort_by_key(|number| (Reverse(health(*number).max(Health::Good)), *number));
        if numbers != self.numbers {
            self.numbers = numbers;
            self.changed = now;
        }
    }

    /// Returns the number of the server `step` places after `shown`, beginning again at the end.
    pub fn after(&self, shown: usize, step: i32) -> Option<usize> {
        let at = self.numbers.iter().position(|number| *number == shown)?;
        let length = self.numbers.len() as i64;
        let next = (at as i64 + i64::from(step)).rem_euclid(length);
        self.numbers.get(usize::try_from(next).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment {
            mono_ms: seconds * 1_000,
            epoch_ms: 0,
        }
    }

    fn tab(number: usize, shown: bool) -> Tab {
        Tab {
            place: Place {
                number,
                name: Clean::new(&format!("a-database-{number}")),
                colour: None,
            },
            target: Clean::new(""),
            shown,
            health: Health::Danger,
            figure: "p99 60ms/50ms".into(),
            rule: "lock queue".into(),
            sentence: String::new(),
        }
    }

    /// Each tab of the row, with its first column and what it says besides the name.
    fn told(tabs: &[Tab], width: u16) -> (Vec<(usize, usize, bool, bool)>, usize) {
        let (row, left_out) = row(tabs, width);
        let told = row.iter().map(|label| {
            let (figure, rule) = (!label.figure.is_empty(), !label.rule.is_empty());
            (label.tab.place.number, label.x, figure, rule)
        });
        (told.collect(), left_out)
    }

    #[test]
    fn a_narrow_row_leaves_out_rules_then_figures_then_tabs_but_never_the_shown_one() {
        let tabs = [1, 2, 3].map(|number| tab(number, number == 3));
        let all = [(1, 0, true, true), (2, 43, true, true), (3, 86, true, true)];
        assert_eq!(told(&tabs, 129), (all.into(), 0));
        let no_rule = [
            (1, 0, true, false),
            (2, 32, true, false),
            (3, 64, true, false),
        ];
        assert_eq!(told(&tabs, 128), (no_rule.into(), 0));
        let short = [
            (1, 0, false, false),
            (2, 16, false, false),
            (3, 32, false, false),
        ];
        assert_eq!(told(&tabs, 48), (short.into(), 0));
        let two = [(1, 0, false, false), (3, 16, false, false)];
        assert_eq!(told(&tabs, 47), (two.into(), 1));
        assert_eq!(told(&tabs, 5), (vec![(3, 0, false, false)], 2));
    }

    #[test]
    fn the_worst_is_first_and_no_tab_moves_under_the_fingers() {
        use Health::{Danger, Good, Unknown, Warning};
        let mut order = Order::new(4);
        let settle = |order: &mut Order, seconds, told: [Health; 4]| {
            order.settle(at(seconds), |number| told[number - 1]);
            order.numbers().to_vec()
        };
        let bad = [Good, Warning, Danger, Unknown];
        assert_eq!(settle(&mut order, 9, bad), [1, 2, 3, 4], "just begun");
        assert_eq!(settle(&mut order, 10, bad), [3, 2, 1, 4]);
        // Not known is no worse than well: nothing moves while it is measured.
        let worse = [Danger, Warning, Danger, Good];
        assert_eq!(settle(&mut order, 19, worse), [3, 2, 1, 4], "too soon");
        assert_eq!(settle(&mut order, 20, worse), [1, 3, 2, 4]);
        order.touch(at(40));
        assert_eq!(settle(&mut order, 44, [Good; 4]), [1, 3, 2, 4], "touched");
        assert_eq!(settle(&mut order, 45, [Good; 4]), [1, 2, 3, 4]);
        // A quiet time does not count against the next change.
        assert_eq!(settle(&mut order, 55, bad), [3, 2, 1, 4]);
    }

    #[test]
    fn next_and_previous_follow_the_row() {
        let mut order = Order::new(3);
        order.settle(at(10), |number| match number {
            3 => Health::Danger,
            _ => Health::Good,
        });
        assert_eq!(order.numbers(), [3, 1, 2]);
        assert_eq!(order.after(2, 1), Some(3));
        assert_eq!(order.after(3, -1), Some(2));
        assert_eq!(order.after(3, 1), Some(1));
        assert_eq!(order.after(9, 1), None);
    }
}

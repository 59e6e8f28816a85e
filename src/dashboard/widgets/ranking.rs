//! Horizontal bars, longest first, with amount and share. Our own: the bars of ratatui's `BarChart` cannot stand between
//! columns of text.

use super::{blocks, clip, columns_of, put, put_right};
use crate::dashboard::theme::{Role, Theme};
use crate::format;
use crate::format::Unit;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

/// Names with their amounts. Items that do not fit are folded into a last line with their sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranking<'a> {
    /// Names and amounts, in any order.
    pub items: &'a [(&'a str, f64)],
    /// Unit of the amounts.
    pub unit: Unit,
    /// Theme to draw with.
    pub theme: &'a Theme,
}

/// One line, ready to be placed.
struct Row<'a> {
    name: std::borrow::Cow<'a, str>,
    value: f64,
    amount: String,
    share: String,
    folded: bool,
}

impl<'a> Widget for Ranking<'a> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let mut area = clip(area, buf);
        if area.is_empty() {
            return;
        }
        if self.items.is_empty() {
            let style = self.theme.style(Role::Muted);
            put(buf, area.x, area.y, area.width, " no rows", style);
            return;
        }
        if area.width > 12 {
            area.x += 1;
            area.width -= 1;
        }
        let rows = self.rows(usize::from(area.height));
        let widest = |text: for<'r> fn(&'r Row<'a>) -> &'r str| {
            rows.iter()
                .map(|row| columns_of(text(row)))
                .max()
                .unwrap_or_default()
        };
        let share = if area.width >= 20 {
            widest(|row| &row.share) + 1
        } else {
            0
        };
        let amount = widest(|row| &row.amount).min(area.width);
        // Names of usual length are kept whole as long as six columns remain for the bars.
        let usual = area.width.saturating_sub(amount + share + 8).min(16);
        let most = (area.width * 2 / 5).max(8).max(usual);
        let name = widest(|row| &row.name)
            .min(most)
            .min(area.width.saturating_sub(amount + share + 1));
        let bar = area.width.saturating_sub(name + amount + share + 2).min(60);
        let bar = if bar < 4 { 0 } else { bar };
        let longest = rows.iter().filter(|row| !row.folded).map(|row| row.value);
        let longest = longest.fold(0.0, f64::max);
        for (row, line) in rows.iter().zip(area.rows()) {
            let quiet = self.theme.style(Role::Muted);
            let style = if row.folded {
                quiet
            } else {
                self.theme.style(Role::Text)
            };
            put(buf, line.x, line.y, name, &row.name, style);
            let mut x = line.x + name + 1;
            if bar > 0 {
                if !row.folded {
                    let eighths = blocks::eighths(row.value, longest, bar);
                    blocks::bar(buf, x, line.y, eighths, self.theme.style(Role::Chart));
                }
                x += bar + 1;
            }
            put_right(buf, x, line.y, amount, &row.amount, style);
            put_right(buf, x + amount, line.y, share, &row.share, quiet);
        }
    }
}

impl<'a> Ranking<'a> {
    /// Returns the lines: sorted, and folded if there are more than `height`.
    fn rows(&self, height: usize) -> Vec<Row<'a>> {
        let mut items = self.items.to_vec();
        // NaN comes last, regardless of its sign.
        items.sort_by(|(_, a), (_, b)| a.is_nan().cmp(&b.is_nan()).then(b.total_cmp(a)));
        let sum = |items: &[(&str, f64)]| -> f64 {
            let amounts = items.iter().map(|(_, amount)| *amount);
            amounts.filter(|amount| amount.is_finite()).sum()
        };
        let whole = sum(&items);
        let shown = if items.len() > height {
            height.saturating_sub(1)
        } else {
            items.len()
        };
        let (top, rest) = items.split_at_checked(shown).unwrap_or((&items, &[]));
        let row = |name, value: f64, folded| Row {
            name,
            value,
            amount: format::compact(value, self.unit, 0),
            share: share(value, whole),
            folded,
        };
        let mut rows: Vec<_> = top
            .iter()
            .map(|(name, value)| row((*name).into(), *value, false))
            .collect();
        if !rest.is_empty() {
            rows.push(row(format!("{} more", rest.len()).into(), sum(rest), true));
        }
        rows
    }
}

/// A share in whole percent, or the sign for none if no share can be computed.
fn share(value: f64, whole: f64) -> String {
    let percent = value / whole * 100.0;
    if !percent.is_finite() || value < 0.0 || whole <= 0.0 {
        return format::NONE.to_owned();
    }
    if percent > 0.0 && percent < 0.5 {
        return "<1%".to_owned();
    }
    format!("{percent:.0}%")
}

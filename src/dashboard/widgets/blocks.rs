//! Block characters: columns and bars in steps of an eighth of a cell.

use super::set;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Lower blocks, by eighths.
const LOWER: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// Left blocks, by eighths.
const LEFT: [&str; 9] = [" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];

/// Returns the share of `value` in `whole` as eighths of `cells`: 0 only if the value is not positive.
pub(super) fn eighths(value: f64, whole: f64, cells: u16) -> u32 {
    let all = u32::from(cells) * 8;
    if value.is_nan() || value <= 0.0 || all == 0 {
        return 0;
    }
    let ratio = value / whole;
    if !ratio.is_finite() || ratio >= 1.0 {
        return all;
    }
    ((ratio * f64::from(all)).round() as u32).clamp(1, all)
}

/// Draws a column of `eighths` at `x`, standing on the lower edge of `plot`.
pub(super) fn column(buf: &mut Buffer, plot: Rect, x: u16, eighths: u32, style: Style) {
    let mut left = eighths;
    for y in plot.rows().rev().map(|row| row.y) {
        if left == 0 {
            break;
        }
        let here = left.min(8);
        left -= here;
        set(buf, x, y, block(LOWER, here), style);
    }
}

/// Draws a horizontal bar of `eighths` from `x` on.
pub(super) fn bar(buf: &mut Buffer, x: u16, y: u16, eighths: u32, style: Style) {
    let mut left = eighths;
    let mut at = x;
    while left > 0 {
        let here = left.min(8);
        left -= here;
        set(buf, at, y, block(LEFT, here), style);
        at = at.saturating_add(1);
    }
}

/// Returns the lower block of so many eighths.
pub(super) fn lower(eighths: u32) -> &'static str {
    block(LOWER, eighths)
}

fn block(blocks: [&'static str; 9], eighths: u32) -> &'static str {
    blocks.get(eighths as usize).copied().unwrap_or(" ")
}

//! Bars that fill from the left.

use ratatui::style::Style;
use ratatui::text::Span;

use super::Theme;

/// A bar of some columns, filled to a share from 0 to 1: heavy where it is done, light where it is not.
pub fn bar(columns: usize, ratio: f64, style: Style, theme: Theme) -> [Span<'static>; 2] {
    let filled = (ratio.clamp(0.0, 1.0) * columns as f64).round() as usize;
    let rest = columns - filled.min(columns);
    [Span::styled("━".repeat(filled), style), Span::styled("─".repeat(rest), theme.dim())]
}

/// A share in percent, rounded down: it is 100 only at the end.
pub fn percent(ratio: f64) -> String {
    format!("{}%", (ratio.clamp(0.0, 1.0) * 100.0).floor() as u32)
}

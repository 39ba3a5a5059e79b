//! Parts that several views are made of.

use std::borrow::Cow;

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, BorderType, Clear, Paragraph, Scrollbar, ScrollbarOrientation, ScrollbarState, Wrap,
};

use super::Theme;
use crate::dashboard::state::text::{self, harmless, pad, width};

/// Columns of the names before values.
const NAMES: usize = 13;

/// Says in the middle of an area why there is nothing in it.
pub fn nothing(frame: &mut Frame<'_>, area: Rect, theme: Theme, says: &str) {
    let paragraph =
        Paragraph::new(says).style(theme.dim()).wrap(Wrap { trim: true }).alignment(Alignment::Center);
    let down = area.height.saturating_sub(2) / 2;
    frame.render_widget(paragraph, Rect { y: area.y + down, height: area.height - down, ..area });
}

/// A rounded frame with a title.
pub fn block<'a>(theme: Theme, title: impl Into<Line<'a>>) -> Block<'a> {
    Block::bordered().border_type(BorderType::Rounded).border_style(theme.dim()).title(title)
}

/// A line that begins a part of a page.
pub fn heading(title: &str, columns: usize, theme: Theme) -> Line<'static> {
    let rest = columns.saturating_sub(width(title) + 4);
    let spans = [
        Span::styled("── ", theme.dim()),
        Span::styled(title.to_owned(), theme.strong()),
        Span::styled(format!(" {}", "─".repeat(rest)), theme.dim()),
    ];
    Line::from_iter(spans)
}

/// A name and its value, on as many lines as it takes.
pub fn fact(name: &str, value: &str, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let room = columns.saturating_sub(NAMES + 2);
    let parts = wrapped(value, room);
    let line = |(at, part): (usize, String)| {
        let name = if at == 0 { name } else { "" };
        Line::from_iter([Span::styled(format!(" {}", pad(name, NAMES)), theme.dim()), Span::raw(part)])
    };
    parts.into_iter().enumerate().map(line).collect()
}

/// A text in lines of some columns, broken between words where that is possible. Nothing in it steers a terminal.
pub fn wrapped(value: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    value.split('\n').flat_map(|line| wrapped_line(&harmless(line), columns)).collect()
}

fn wrapped_line(line: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut now = String::new();
    for word in line.split_inclusive(' ') {
        if width(&now) + width(word.trim_end()) > columns && !now.is_empty() {
            lines.push(std::mem::take(&mut now));
        }
        now.push_str(word);
        while width(&now) > columns && width(now.trim_end()) > columns {
            let cut = cut(&now, columns);
            let rest = now.split_off(cut);
            lines.push(std::mem::replace(&mut now, rest));
        }
    }
    if !now.is_empty() || lines.is_empty() {
        lines.push(now);
    }
    lines
}

/// How many bytes of a text fit into some columns; one character at least.
fn cut(text: &str, columns: usize) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let ends = text.char_indices().map(|(at, letter)| at + letter.len_utf8());
    ends.take_while(|&end| width(&text[..end]) <= columns).last().unwrap_or(first).max(first)
}

/// Lines from one on, with a scrollbar if there are more.
pub fn scrolled(frame: &mut Frame<'_>, area: Rect, lines: &[Line<'_>], top: usize, theme: Theme) {
    let rows = usize::from(area.height);
    let top = top.min(lines.len().saturating_sub(rows));
    for (row, line) in lines.iter().skip(top).take(rows).enumerate() {
        let row = u16::try_from(row).unwrap_or(0);
        frame.render_widget(line, Rect { y: area.y + row, height: 1, ..area });
    }
    scrollbar(frame, area, lines.len(), top, theme);
}

/// A scrollbar at the right of an area, if there is more than it shows.
pub fn scrollbar(frame: &mut Frame<'_>, area: Rect, count: usize, top: usize, theme: Theme) {
    let rows = usize::from(area.height);
    if count <= rows || area.height < 2 {
        return;
    }
    let bar = Scrollbar::new(ScrollbarOrientation::VerticalRight)
        .begin_symbol(None)
        .end_symbol(None)
        .track_symbol(Some("│"))
        .track_style(theme.dim())
        .thumb_symbol("┃");
    let mut state = ScrollbarState::new(count - rows + 1).position(top).viewport_content_length(rows);
    frame.render_stateful_widget(bar, area, &mut state);
}

/// An area in the middle of another, for what lies over it; it is emptied and framed.
pub fn over(frame: &mut Frame<'_>, body: Rect, size: (u16, u16), title: &str, theme: Theme) -> Rect {
    let (columns, rows) = (size.0.min(body.width), size.1.min(body.height));
    let area = Rect {
        x: body.x + (body.width - columns) / 2,
        y: body.y + (body.height - rows) / 2,
        width: columns,
        height: rows,
    };
    frame.render_widget(Clear, area);
    let block = block(theme, Line::styled(format!(" {title} "), theme.strong()))
        .border_style(ratatui::style::Style::new());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

/// As many of some spans as fit into some columns, each cut off where it must be.
pub fn fitted(spans: Vec<Span<'_>>, columns: usize) -> Line<'static> {
    let mut room = columns;
    let mut line = Line::default();
    for span in spans {
        let content: Cow<'_, str> = text::fit(&span.content, room);
        room -= width(&content).min(room);
        line.push_span(Span::styled(content.into_owned(), span.style));
        if room == 0 {
            break;
        }
    }
    line
}

/// As many of some parts as fit into some columns, none of them cut off.
pub fn whole(parts: Vec<Vec<Span<'static>>>, columns: usize) -> Line<'static> {
    let mut line = Line::default();
    for part in parts {
        let wanted: usize = part.iter().map(Span::width).sum();
        if line.width() + wanted <= columns {
            line.extend(part);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_does_not_fit_is_left_out_whole() {
        let part = |text: &'static str| vec![Span::raw(text)];
        let line = whole(vec![part("abc"), part("defgh"), part("ij")], 6);
        assert_eq!(line.to_string(), "abcij");
    }

    #[test]
    fn long_texts_break_between_words_and_long_words_anywhere() {
        assert_eq!(wrapped("a photo of a panda", 8), ["a photo ", "of a ", "panda"]);
        assert_eq!(wrapped("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrapped("a\n\nb", 3), ["a", "", "b"]);
        assert_eq!(wrapped("パンダ", 1), ["パ", "ン", "ダ"]);
        assert_eq!(wrapped("    indented", 20), ["    indented"]);
    }
}

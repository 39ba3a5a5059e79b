//! Previews and results: all of them small, one of them large, or two side by side.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::pane::{fitted, nothing, scrollbar};
use crate::dashboard::message::Pictures;
use crate::dashboard::state::screen::{Sheet, top};
use crate::dashboard::state::text::{clock, fit, fit_end, harmless};
use crate::dashboard::state::{Picture, Shape, State};

/// The pictures as they are arranged.
pub fn draw(state: &State, painter: &mut dyn Pictures, frame: &mut Frame<'_>, body: Rect) {
    if state.run().pictures.is_empty() {
        return nothing(
            frame,
            body,
            state.theme,
            "no pictures yet: previews of trainings and saved pictures come here",
        );
    }
    let large = state.large_pictures();
    match state.pictures.shape {
        Shape::Sheet => contact_sheet(state, painter, frame, body),
        Shape::Single | Shape::Pair => {
            let count = large.len().max(1) as u16;
            let width = body.width / count;
            for (column, picture) in (0..count).zip(large) {
                let area = Rect { x: body.x + column * width, width: width - u16::from(count > 1), ..body };
                single(state, picture, painter, frame, area);
            }
        }
    }
}

/// One picture with what it is below.
fn single(state: &State, picture: &Picture, painter: &mut dyn Pictures, frame: &mut Frame<'_>, area: Rect) {
    let theme = state.theme;
    let columns = usize::from(area.width);
    let image = Rect { height: area.height.saturating_sub(2), ..area };
    painter.paint(&picture.path, image, frame.buffer_mut());
    let at = state.run().pictures.iter().position(|other| other.path == picture.path).unwrap_or(0);
    let about = vec![
        Span::styled(format!(" {}", picture.label), theme.strong()),
        Span::styled(format!(" · {} · {}", picture.node, clock(picture.at)), theme.dim()),
        Span::styled(format!(" · {} of {}", at + 1, state.run().pictures.len()), theme.dim()),
    ];
    let path = picture.path.display().to_string();
    let path = format!(" {}", fit_end(&harmless(&path), columns.saturating_sub(2)));
    let row = |from_bottom: u16| Rect { y: area.bottom() - from_bottom, height: 1, ..area };
    frame.render_widget(fitted(about, columns), row(2));
    frame.render_widget(Line::styled(path, theme.dim()), row(1));
}

fn contact_sheet(state: &State, painter: &mut dyn Pictures, frame: &mut Frame<'_>, body: Rect) {
    let pictures = &state.run().pictures;
    let Sheet { columns, width, height } = state.sheet(body);
    let rows = usize::from((body.height / height).max(1));
    let (all, at) = (pictures.len().div_ceil(columns), state.picture_at());
    let first = top(at / columns, all, rows);
    let shown = pictures.iter().enumerate().skip(first * columns).take(rows * columns);
    for (place, (index, picture)) in shown.enumerate() {
        let area = Rect {
            x: body.x + (place % columns) as u16 * width,
            y: body.y + (place / columns) as u16 * height,
            width: width - 1,
            height: height - 1,
        };
        small(state, picture, index == at, painter, frame, area.intersection(body));
    }
    scrollbar(frame, body, all * usize::from(height), first * usize::from(height), state.theme);
}

/// A small picture over its label.
fn small(
    state: &State,
    picture: &Picture,
    is_selected: bool,
    painter: &mut dyn Pictures,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let theme = state.theme;
    if area.height < 3 || area.width < 4 {
        return;
    }
    let image = Rect { height: area.height - 1, ..area };
    painter.paint(&picture.path, image, frame.buffer_mut());
    let mark = state.pictures.marks.iter().position(|mark| *mark == picture.path);
    let mark = mark.map(|at| format!("◆{} ", at + 1)).unwrap_or_default();
    let columns = usize::from(area.width);
    let says = format!("{mark}{} · {}", picture.label, picture.node);
    let style = if is_selected { theme.selected() } else { Style::new() };
    let sign = if is_selected { "▸" } else { " " };
    let text = fit(&says, columns.saturating_sub(2)).into_owned();
    let label = Line::from(Span::styled(format!("{sign}{text} "), style)).centered();
    frame.render_widget(label, Rect { y: area.bottom() - 1, height: 1, ..area });
}

//! Tables for people: a line under the head, numbers to the right, nothing else drawn.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

/// A column's head, and on which side its cells stand.
pub enum Column<'a> {
    Words(&'a str),
    Number(&'a str),
}

/// The lines of a table.
pub fn table(columns: &[Column<'_>], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('-')));
    table.set_header(columns.iter().map(|column| match column {
        Column::Words(head) | Column::Number(head) => *head,
    }));
    table.add_rows(rows);
    for (shown, column) in table.column_iter_mut().zip(columns) {
        shown.set_padding((0, 2));
        if let Column::Number(_) = column {
            shown.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

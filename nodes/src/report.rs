//! A report on a wire: a table of what was measured, as data first.
//!
//! Nothing here knows what it is about, or screens.

mod stored;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use flow_engine::{Digest, Result, StoredFile, Value};
use serde::Serialize;

/// A table with a title, a line for what a reader must know, and one row per thing that was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// What was measured.
    pub title: String,
    /// What holds for the table as a whole, in sentences.
    pub notes: Vec<String>,
    /// What was measured with, by name: numbers of other settings cannot be compared with these.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// Names of the columns, units among them.
    pub columns: Vec<String>,
    /// A value for each column.
    pub rows: Vec<Vec<Cell>>,
}

/// One value of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A count.
    Count(usize),
    /// A measured number.
    Number(f64),
    /// Several, such as singular values.
    Numbers(Vec<f64>),
    /// Nothing was measured.
    None,
}

impl Value for Report {
    const TYPE: &'static str = "Report";

    /// That of the stored form, which tells a count from a number where JSON for people does not.
    fn digest(&self) -> Digest {
        stored::digest(self)
    }

    fn to_files(&self) -> Result<Option<Vec<StoredFile<'_>>>> {
        stored::to_files(self).map(Some)
    }

    fn from_files(files: Vec<StoredFile<'static>>) -> Result<Self> {
        stored::from_files(files)
    }
}

/// Digits of a measured number in tables; JSON has all of them.
const DIGITS: usize = 5;

impl Report {
    /// Everything, as JSON.
    ///
    /// # Errors
    /// A number that is none (NaN or infinite).
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The rows, as comma-separated values.
    pub fn to_csv(&self) -> String {
        let line =
            |cells: Vec<String>| cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\n";
        let rows = self.rows.iter().map(|row| line(row.iter().map(|cell| cell.text(None)).collect()));
        line(self.columns.clone()) + rows.collect::<String>().as_str()
    }

    /// Title, notes and rows, as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("# {}\n", self.title);
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        for (name, value) in &self.settings {
            let _ = write!(text, "\n- {name}: {value}");
        }
        if !self.settings.is_empty() {
            text += "\n";
        }
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        text += "\n";
        text += &line(self.columns.clone());
        text += &line(vec!["---".into(); self.columns.len()]);
        for row in &self.rows {
            text += &line(row.iter().map(|cell| cell.text(Some(DIGITS)).replace('|', "\\|")).collect());
        }
        text
    }
}

impl Cell {
    /// Its text; several numbers are separated by spaces.
    pub(crate) fn text(&self, digits: Option<usize>) -> String {
        let number = |x: f64| digits.map_or_else(|| x.to_string(), |digits| format!("{x:.digits$}"));
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Number(x) => number(*x),
            Self::Numbers(numbers) => numbers.iter().map(|&x| number(x)).collect::<Vec<_>>().join(" "),
            Self::None => String::new(),
        }
    }
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            title: "Ranks".into(),
            notes: vec!["Two layers.".into()],
            settings: BTreeMap::new(),
            columns: vec!["layer".into(), "rank".into(), "σ".into()],
            rows: vec![
                vec![Cell::Text("a, \"b\"".into()), Cell::Count(2), Cell::Numbers(vec![1.5, 0.25])],
                vec![Cell::Text("c|d".into()), Cell::None, Cell::Number(1.0 / 3.0)],
            ],
        }
    }

    #[test]
    fn commas_and_quotes_survive_csv() {
        assert_eq!(report().to_csv(), "layer,rank,σ\n\"a, \"\"b\"\"\",2,1.5 0.25\nc|d,,0.3333333333333333\n");
    }

    #[test]
    fn markdown_has_title_notes_and_a_row_for_each() {
        let text = report().to_markdown();
        assert!(
            text.starts_with("# Ranks\n\nTwo layers.\n\n| layer | rank | σ |\n| --- | --- | --- |\n"),
            "{text}"
        );
        assert!(text.ends_with("| c\\|d |  | 0.33333 |\n"), "{text}");
    }

    #[test]
    fn what_was_measured_with_stands_between_the_notes_and_the_table() {
        let settings = [("SSIM window", "Gaussian"), ("CLIP", "a")].map(|(k, v)| (k.into(), v.into())).into();
        let text = Report { settings, ..report() }.to_markdown();
        assert!(text.contains("Two layers.\n\n- CLIP: a\n- SSIM window: Gaussian\n\n| layer"), "{text}");
    }

    #[test]
    fn json_keeps_every_digit() {
        let json = report().to_json().unwrap();
        assert!(json.contains("0.3333333333333333"), "{json}");
    }

    #[test]
    fn another_number_is_another_digest() {
        let mut other = report();
        other.rows[1][2] = Cell::Number(0.4);
        assert_ne!(other.digest(), report().digest());
    }
}

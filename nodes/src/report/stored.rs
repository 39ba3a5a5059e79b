//! A report as a file from which every cell comes back as what it was.

use std::collections::BTreeMap;

use flow_engine::{Digest, Result, StoredFile, Value as _};
use serde::{Deserialize, Serialize};

use super::{Cell, Report};
use crate::stored::{Exact, Files, json};

const FILE: &str = "report.json";

/// A report with cells that say what they are.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    title: String,
    notes: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<String, String>,
    columns: Vec<String>,
    rows: Vec<Vec<StoredCell>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredCell {
    Text(String),
    Count(usize),
    Number(Exact),
    Numbers(Vec<Exact>),
    None,
}

impl From<&Report> for Stored {
    fn from(report: &Report) -> Self {
        let Report { title, notes, settings, columns, rows } = report.clone();
        let row = |row: Vec<Cell>| row.into_iter().map(StoredCell::from).collect();
        Self { title, notes, settings, columns, rows: rows.into_iter().map(row).collect() }
    }
}

impl From<Stored> for Report {
    fn from(Stored { title, notes, settings, columns, rows }: Stored) -> Self {
        let row = |row: Vec<StoredCell>| row.into_iter().map(Cell::from).collect();
        Self { title, notes, settings, columns, rows: rows.into_iter().map(row).collect() }
    }
}

impl From<Cell> for StoredCell {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Text(text) => Self::Text(text),
            Cell::Count(count) => Self::Count(count),
            Cell::Number(number) => Self::Number(Exact(number)),
            Cell::Numbers(numbers) => Self::Numbers(numbers.into_iter().map(Exact).collect()),
            Cell::None => Self::None,
        }
    }
}

impl From<StoredCell> for Cell {
    fn from(cell: StoredCell) -> Self {
        match cell {
            StoredCell::Text(text) => Self::Text(text),
            StoredCell::Count(count) => Self::Count(count),
            StoredCell::Number(Exact(number)) => Self::Number(number),
            StoredCell::Numbers(numbers) => Self::Numbers(numbers.into_iter().map(|Exact(n)| n).collect()),
            StoredCell::None => Self::None,
        }
    }
}

/// The digest of everything in it.
pub(super) fn digest(report: &Report) -> Digest {
    // Text, counts and exact numbers all have a form in JSON.
    Digest::of(&serde_json::to_vec(&Stored::from(report)).unwrap_or_default())
}

pub(super) fn to_files(report: &Report) -> Result<Vec<StoredFile<'static>>> {
    Ok(vec![json(FILE, &Stored::from(report))?])
}

pub(super) fn from_files(files: Vec<StoredFile<'static>>) -> Result<Report> {
    let mut files = Files::new(Report::TYPE, files)?;
    let stored: Stored = files.json(FILE)?;
    files.end()?;
    Ok(stored.into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::stored::testing::{back, survives_damage};

    fn of(cell: Cell) -> Report {
        Report { title: "t".into(), rows: vec![vec![cell]], ..Report::default() }
    }

    fn cell() -> impl Strategy<Value = Cell> {
        // Among others the numbers that are no numbers, which compare with nothing.
        let number = || any::<f64>().prop_filter("comparable", |number| !number.is_nan());
        prop_oneof![
            ".*".prop_map(Cell::Text),
            any::<usize>().prop_map(Cell::Count),
            number().prop_map(Cell::Number),
            (0..100u32).prop_map(|whole| Cell::Number(whole.into())),
            prop::collection::vec(number(), 0..4).prop_map(Cell::Numbers),
            Just(Cell::None),
        ]
    }

    proptest! {
        #[test]
        fn a_report_comes_back_from_its_file(
            title in ".*",
            notes in prop::collection::vec(".*", 0..3),
            settings in prop::collection::btree_map(".*", ".*", 0..3),
            columns in prop::collection::vec(".*", 0..3),
            rows in prop::collection::vec(prop::collection::vec(cell(), 0..4), 0..4),
        ) {
            let report = Report { title, notes, settings, columns, rows };
            prop_assert_eq!(back(&report), report);
        }
    }

    #[test]
    fn cells_that_read_alike_are_told_apart() {
        let cells = [
            Cell::Text("2".into()),
            Cell::Count(2),
            Cell::Number(2.0),
            Cell::Numbers(vec![2.0]),
            Cell::Number(0.0),
            Cell::Number(-0.0),
            Cell::Number(f64::NAN),
            Cell::Number(f64::INFINITY),
            Cell::Numbers(vec![]),
            Cell::Text(String::new()),
            Cell::None,
        ];
        let digests: HashSet<_> = cells.iter().map(|cell| back(&of(cell.clone())).digest()).collect();
        assert_eq!(digests.len(), cells.len());
    }

    #[test]
    fn damaged_files_are_refused() {
        let cells = vec![Cell::Numbers(vec![1.5, -2.0]), Cell::Count(3), Cell::Text("a".into()), Cell::None];
        survives_damage(&Report { title: "Ranks".into(), rows: vec![cells], ..Report::default() });
    }
}

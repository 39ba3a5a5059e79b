//! `Report`: tables, plots and pictures on one page.

use std::path::PathBuf;

use flow_engine::{Check, Cx, In, Nature, Node, Problem, Project, Result, Value as _, file};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plot::points;
use crate::evaluate::comparison::{Compared, table::from_report};
use crate::evaluate::measure::Measure;
use crate::page::{Better, Block, Cell, Column, Page, Section, Table};
use crate::picture::png;
use crate::picture::scatter::Scatter;
use crate::picture::{Images, Picture};
use crate::report::{self, Report as Measured};

/// Put reports and pictures on one HTML page that needs nothing else, to read and to mail.
///
/// A comparison becomes a table as papers have it, the best of each measure in bold, with a plot of text against image
/// alignment; ± is the standard error over the runs. Every table says which content it is of, so
/// that a number can be traced to the run that made it. `SaveReport` saves a report as data.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Words above the page.
    pub title: String,
    /// What a reader must know first, in paragraphs.
    #[serde(default)]
    pub text: Vec<String>,
    /// Reports, from top to bottom.
    #[serde(default)]
    pub reports: Vec<In<Measured>>,
    /// Pictures below them, such as sheets and plots.
    #[serde(default)]
    pub images: Vec<In<Images>>,
    /// A file that ends in `.html`. Missing folders are made.
    pub path: String,
}

impl Node for Report {
    const KIND: &'static str = "Report";
    const NATURE: Nature = Nature::Effect;
    type Output = Measured;

    fn check(&self, cx: &mut Check<'_>) {
        if self.reports.is_empty() && self.images.is_empty() {
            cx.problem_with("reports", Problem::new("a page without reports and pictures is empty"));
        }
        let is_html = self.path.rsplit_once('.').is_some_and(|(stem, end)| !stem.is_empty() && end == "html");
        if !is_html {
            let problem = Problem::new(format!("`{}` does not end in .html", self.path));
            return cx.problem_with("path", problem.hint("name a file such as `out/report.html`"));
        }
        let path = cx.path(&self.path);
        if let Some(problem) = path.parent().and_then(file::unwritable) {
            cx.problem_with("path", problem);
        }
    }

    fn target(&self, project: &Project) -> Option<PathBuf> {
        Some(project.path(&self.path))
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Measured> {
        let mut sections = Vec::new();
        for wire in &self.reports {
            let measured = cx.input(wire)?;
            sections.push(section(&measured, wire.node())?);
        }
        for wire in &self.images {
            let images = cx.input(wire)?;
            let blocks = images.pictures.iter().map(picture).collect::<Result<_>>()?;
            let notes = vec![format!("Content {}.", images.digest())];
            sections.push(Section { title: wire.node().to_owned(), notes, blocks });
        }
        let origin = [
            Some(format!("Made by Flow {}.", env!("CARGO_PKG_VERSION"))),
            cx.key().map(|key| format!("Key of this page: {key}.")),
            Some(
                "The events of the run that made a content name it: `grep -l CONTENT runs/*/events.ndjson`."
                    .into(),
            ),
        ];
        let origin = origin.into_iter().flatten().collect();
        let page = Page { title: self.title.clone(), lead: self.text.clone(), sections, origin };
        file::write_if_changed(&cx.path(&self.path), page.to_html().as_bytes())?;
        Ok(Measured { title: self.title.clone(), notes: self.text.clone(), ..Measured::default() })
    }
}

fn picture(picture: &Picture) -> Result<Block> {
    let (name, size) = (picture.name.clone(), picture.pixels.dimensions());
    Ok(Block::Picture { name, png: png::encode(&picture.pixels, &[])?, size })
}

fn section(measured: &Measured, node: &str) -> Result<Section> {
    let origin = Some(format!("node “{node}”, content {}", measured.digest()));
    let (mut blocks, title, mut notes) = (Vec::new(), measured.title.clone(), measured.notes.clone());
    let settings: Vec<_> = measured.settings.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    notes.extend((!settings.is_empty()).then(|| format!("Measured with {}.", settings.join("; "))));
    match from_report(measured) {
        Some(compared) => {
            blocks.push(Block::Table(Table { origin: origin.clone(), ..side_by_side(&compared) }));
            blocks.extend(drawing(&title, &compared)?);
            blocks.push(Block::Table(Table { origin, ..differences(&compared) }));
        }
        None => blocks.push(Block::Table(Table { origin, ..plain(measured) })),
    }
    Ok(Section { title, notes, blocks })
}

/// Text against image alignment, where both were measured.
fn drawing(title: &str, compared: &[Compared]) -> Result<Option<Block>> {
    let axes = [Measure::TextAlignment, Measure::ImageAlignment];
    let points = points(compared, axes);
    if points.len() < 2 {
        return Ok(None);
    }
    let axes = axes.map(Measure::name);
    let svg = Scatter { title, axes, points: &points, size: (800, 520) }.svg()?;
    Ok(Some(Block::Drawing { name: format!("{title}: {} against {}", axes[1], axes[0]), svg }))
}

fn number(x: f64) -> Cell {
    Cell { text: format!("{x:.4}"), exact: Some(x.to_string()), is_best: false }
}

fn words(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), ..Cell::default() }
}

/// A row for each method, a column for each measure.
fn side_by_side(compared: &[Compared]) -> Table {
    let measures: Vec<_> = Measure::ALL
        .into_iter()
        .filter(|&measure| compared.iter().any(|row| row.measure == measure))
        .collect();
    let mut methods: Vec<&str> = Vec::new();
    for row in compared {
        if !methods.contains(&row.method.as_str()) {
            methods.push(&row.method);
        }
    }
    let find =
        |method: &str, measure| compared.iter().find(|row| row.method == method && row.measure == measure);
    let best = |measure: Measure| {
        let means = methods.iter().filter_map(|method| Some(find(method, measure)?.summary.over_runs.mean));
        match measure.higher_is_better()? {
            true => means.max_by(f64::total_cmp),
            false => means.min_by(f64::total_cmp),
        }
    };
    let cell = |method: &str, measure: Measure| {
        let Some(row) = find(method, measure) else { return Cell::default() };
        let mean = row.summary.over_runs.mean;
        let error = row.summary.over_runs.error.map(|error| format!(" ± {error:.4}")).unwrap_or_default();
        Cell { text: format!("{mean:.4}{error}"), is_best: best(measure) == Some(mean), ..number(mean) }
    };
    let head = |measure: &Measure| Column {
        name: measure.name().to_owned(),
        is_number: true,
        better: measure.higher_is_better().map(|higher| if higher { Better::Higher } else { Better::Lower }),
    };
    let method = Column { name: "method".into(), ..Column::default() };
    let row = |name: &&str| {
        [words(*name)].into_iter().chain(measures.iter().map(|&measure| cell(name, measure))).collect()
    };
    Table {
        columns: [method].into_iter().chain(measures.iter().map(head)).collect(),
        rows: methods.iter().map(row).collect(),
        origin: None,
    }
}

/// A row for each measure of each method: its interval, and how far it is from the first method.
fn differences(compared: &[Compared]) -> Table {
    let column = |name: &str, is_number| Column { name: name.to_owned(), is_number, better: None };
    let ends = |interval: Option<crate::evaluate::statistics::Interval>| {
        interval.map_or_else(Cell::default, |i| words(format!("{:.4} to {:.4}", i.low, i.high)))
    };
    let row = |row: &Compared| {
        let difference = row.difference;
        let signed = |mean: f64| Cell { text: format!("{mean:+.4}"), ..number(mean) };
        vec![
            words(&row.method),
            words(row.measure.name()),
            words(row.pictures.to_string()),
            ends(row.summary.interval),
            difference.map_or_else(Cell::default, |difference| signed(difference.mean)),
            ends(difference.and_then(|difference| difference.interval)),
            difference.map_or_else(Cell::default, |d| words(if d.is_paired { "yes" } else { "no" })),
            difference.map_or_else(Cell::default, |difference| words(difference.verdict())),
        ]
    };
    Table {
        columns: vec![
            column("method", false),
            column("measure", false),
            column("pictures", true),
            column("95 %", true),
            column("difference", true),
            column("its 95 %", true),
            column("paired", false),
            column("verdict", false),
        ],
        rows: compared.iter().map(row).collect(),
        origin: None,
    }
}

/// A report as it is.
fn plain(measured: &Measured) -> Table {
    let is_number = |at: usize| {
        let told = measured.rows.iter().filter_map(|row| row.get(at));
        told.clone().count() > 0 && told.clone().all(|cell| !matches!(cell, report::Cell::Text(_)))
    };
    let columns = measured.columns.iter().enumerate();
    let column =
        |(at, name): (usize, &String)| Column { name: name.clone(), is_number: is_number(at), better: None };
    let cell = |cell: &report::Cell| match cell {
        report::Cell::Number(x) => number(*x),
        other => words(other.text(Some(4))),
    };
    Table {
        columns: columns.map(column).collect(),
        rows: measured.rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
        origin: None,
    }
}

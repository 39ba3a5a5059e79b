//! `SaveReport`: a report into a file.

use std::path::PathBuf;

use flow_engine::{Check, Cx, In, Nature, Node, Problem, Project, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::Report;
use flow_engine::file;

/// Save a report, and hand it on unchanged.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveReport {
    /// Report to save.
    pub report: In<Report>,
    /// A file that ends in `.json` (everything, with every digit), `.csv` (the rows) or `.md` (to read). Missing folders
    /// are made.
    pub path: String,
}

impl Node for SaveReport {
    const KIND: &'static str = "SaveReport";
    const NATURE: Nature = Nature::Effect;
    type Output = Report;

    fn check(&self, cx: &mut Check<'_>) {
        if self.ending().is_none() {
            let problem = Problem::new(format!("`{}` ends in none of .json, .csv and .md", self.path));
            return cx.problem_with("path", problem.hint("name a file such as `out/ranks.md`"));
        }
        let path = cx.path(&self.path);
        if let Some(problem) = path.parent().and_then(file::unwritable) {
            cx.problem_with("path", problem);
        }
    }

    fn target(&self, project: &Project) -> Option<PathBuf> {
        Some(project.path(&self.path))
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Report> {
        let report = cx.input(&self.report)?;
        let text = match self.ending() {
            Some("csv") => report.to_csv(),
            Some("md") => report.to_markdown(),
            _ => report.to_json()?,
        };
        file::write_if_changed(&cx.path(&self.path), text.as_bytes())?;
        Ok(Report::clone(&report))
    }
}

impl SaveReport {
    fn ending(&self) -> Option<&str> {
        let (stem, ending) = self.path.rsplit_once('.')?;
        (!stem.is_empty() && matches!(ending, "json" | "csv" | "md")).then_some(ending)
    }
}

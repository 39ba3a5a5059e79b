//! What people saved from the page, held against the survey's key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flow_engine::{Diagnostic, Problem, Result, file};
use serde::Deserialize;

use super::key::Key;
use crate::show::out::harmless;

/// What a person answers who finds no picture the best.
pub const NEITHER: &str = "neither";

/// A file of answers as the page writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    survey: String,
    participant: String,
    answers: BTreeMap<String, String>,
    started: String,
    finished: Option<String>,
}

/// What one person answered, in the names of the methods.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// The participant's id.
    pub participant: String,
    /// The method that was chosen, or none, by the ids of the questions.
    pub answers: BTreeMap<String, Option<String>>,
    /// When the last question was answered, if all are.
    finished: Option<SystemTime>,
    /// Where it came from.
    file: String,
}

/// The answers in some files, one sheet per participant, and what to tell about them.
///
/// # Errors
/// Every file that is no answer to this survey, all at once.
pub fn read(files: &[PathBuf], key: &Key) -> Result<(Vec<Sheet>, Vec<String>), Vec<Diagnostic>> {
    let (mut sheets, mut broken) = (Vec::new(), Vec::new());
    for file in files {
        match sheet(file, key) {
            Ok(sheet) => sheets.push(sheet),
            Err(problem) => broken.push(Diagnostic::from_error(&problem.into())),
        }
    }
    if broken.is_empty() { Ok(one_each(sheets)) } else { Err(broken) }
}

fn sheet(path: &Path, key: &Key) -> Result<Sheet, Problem> {
    let shown = harmless(&path.to_string_lossy());
    let wrong = |what: String| Problem::new(format!("{shown} {what}"));
    let hint = "answers are the files `answers-..json` that people save on the page's last page";
    if file::is_special(path) {
        return Err(file::special_file(&shown));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(format!("cannot be read: {error}")).hint(hint))?;
    if text.trim().is_empty() {
        return Err(wrong("is empty".to_owned()).hint("ask the participant to save it again"));
    }
    let saved: Saved = serde_json::from_str(&text)
        .map_err(|error| wrong(format!("holds no answers: {error}")).hint(hint))?;
    if saved.survey != key.survey {
        return Err(wrong(format!(
            "answers another survey, {}, not {}",
            harmless(&saved.survey),
            key.survey
        ))
        .hint("name the key that was written with that survey's page"));
    }
    let finished = time(&saved).map_err(|what| wrong(what).hint(hint))?;
    let answers = decoded(&saved, key)
        .map_err(|what| wrong(what).hint("somebody has changed the file: ask the participant for theirs"))?;
    Ok(Sheet { participant: saved.participant, answers, finished, file: shown })
}

/// When it was finished, if the times in it are some.
fn time(saved: &Saved) -> Result<Option<SystemTime>, String> {
    let parsed = |text: &str| {
        humantime::parse_rfc3339(text).map_err(|_| format!("has `{}` where a time belongs", harmless(text)))
    };
    parsed(&saved.started)?;
    saved.finished.as_deref().map(parsed).transpose()
}

/// The answers in the names of the methods.
fn decoded(saved: &Saved, key: &Key) -> Result<BTreeMap<String, Option<String>>, String> {
    if saved.participant.trim().is_empty() {
        return Err("names no participant".to_owned());
    }
    if saved.answers.is_empty() {
        return Err("answers no question".to_owned());
    }
    let decode = |(question, choice): (&String, &String)| {
        let known = key.questions.get(question);
        let known = known.ok_or_else(|| format!("answers `{}`, which is no question", harmless(question)))?;
        let method = match choice.as_str() {
            NEITHER => None,
            choice => Some(known.choices.get(choice).cloned().ok_or_else(|| {
                format!("chooses `{}`, which is no choice of question {question}", harmless(choice))
            })?),
        };
        Ok((question.clone(), method))
    };
    saved.answers.iter().map(decode).collect()
}

/// The newest sheet of every participant, and what was left out for it.
fn one_each(sheets: Vec<Sheet>) -> (Vec<Sheet>, Vec<String>) {
    let mut newest: BTreeMap<String, Sheet> = BTreeMap::new();
    let mut notes = Vec::new();
    for sheet in sheets {
        let Some(other) = newest.remove(&sheet.participant) else {
            newest.insert(sheet.participant.clone(), sheet);
            continue;
        };
        // One that was never finished is older than any that was; of two such the one with more answers counts.
        let age = |sheet: &Sheet| (sheet.finished, sheet.answers.len());
        let (older, newer) = if age(&sheet) >= age(&other) { (other, sheet) } else { (sheet, other) };
        notes.push(format!(
            "{} and {} are of one participant, {}: only {} counts, the newer one",
            older.file,
            newer.file,
            harmless(&newer.participant),
            newer.file,
        ));
        newest.insert(newer.participant.clone(), newer);
    }
    (newest.into_values().collect(), notes)
}

/// How many questions somebody answered.
pub fn answered(sheets: &[Sheet]) -> usize {
    sheets.iter().flat_map(|sheet| sheet.answers.keys()).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(file: &str, finished: Option<&str>, answers: usize) -> Sheet {
        Sheet {
            participant: "p".into(),
            answers: (0..answers).map(|index| (index.to_string(), None)).collect(),
            finished: finished.map(|time| humantime::parse_rfc3339(time).unwrap()),
            file: file.into(),
        }
    }

    #[test]
    fn of_two_files_of_a_participant_the_newer_counts_in_any_order() {
        let old = sheet("old", Some("2026-11-23T10:00:00.000Z"), 3);
        let new = sheet("new", Some("2026-11-23T10:00:00.001Z"), 3);
        let begun = sheet("begun", None, 2);
        let little = sheet("little", None, 1);
        let all = [old, new, begun, little];
        for (files, counts) in
            [(&[0, 1][..], 1), (&[1, 0], 1), (&[0, 2], 0), (&[2, 0], 0), (&[2, 3], 2), (&[3, 2, 1, 0], 1)]
        {
            let (sheets, notes) = one_each(files.iter().map(|&index| all[index].clone()).collect());
            assert_eq!((&sheets[..], notes.len()), (&all[counts..=counts], files.len() - 1));
            assert!(notes.last().unwrap().contains(&format!("only {} counts", all[counts].file)));
        }
    }
}

//! `flow survey FOLDER..` and `flow survey RUN..`: a blind survey of which method's pictures people prefer, as PaRa's section G asks.
//! `flow survey --tally ANSWERS..`: what they prefer.
//!
//! [`pictures`] finds what every method has a picture of, in folders or in [`runs`], [`blind`] takes the names away and makes the [`key`] that gives
//! them back, [`page`] draws what is left, which knows no name; its script moves the places for every participant.
//! [`answers`] reads what comes back, [`tally`] counts it, [`statistics`] says how much the counts say.

mod answers;
mod blind;
mod key;
mod page;
mod pictures;
mod runs;
mod statistics;
mod tally;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clap::Args;
use flow_engine::{Diagnostic, Problem, Result, file};
use indicatif::HumanBytes;

use crate::open::one;
use crate::show::diagnostics::count;
use crate::show::out;
use crate::{Ending, Exit};
use blind::{Blinded, Wish};
use key::Key;

#[derive(Args)]
pub struct SurveyArguments {
    /// The folders with the pictures, one for each method; `NAME=FOLDER` calls the method otherwise than its folder. Or runs
    /// (an id, the beginning of one, or `last`), whose nodes that drew pictures are the methods. Pictures of one name are the
    /// choices of one question.
    #[arg(value_name = "FOLDER|RUN", required_unless_present = "tally", conflicts_with = "tally")]
    folders: Vec<PathBuf>,
    /// Of runs, only what this node drew. May be given several times.
    #[arg(long = "node", value_name = "NODE", conflicts_with = "tally")]
    nodes: Vec<String>,
    /// The page to write, a file that ends in .html. The key to its answers is written beside it, for `page.html` as
    /// `page.key.json`, and is yours alone.
    #[arg(long, value_name = "FILE", required_unless_present = "tally", conflicts_with = "tally")]
    output: Option<PathBuf>,
    /// What people are asked.
    #[arg(long, default_value = "Which picture shows the subject best?", conflicts_with = "tally")]
    question: String,
    /// A folder with pictures that stand above all choices, of the subject say.
    #[arg(long, value_name = "FOLDER", conflicts_with = "tally")]
    reference: Option<PathBuf>,
    /// What the order of questions and choices is drawn with, or the resamples of the tally.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// As many questions at most, drawn by the seed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "tally")]
    limit: Option<u32>,
    /// Count the answers in these files, which people saved from the page.
    #[arg(long, value_name = "ANSWERS", num_args = 1.., requires = "key")]
    tally: Vec<PathBuf>,
    /// The key that was written beside the page, `page.key.json`.
    #[arg(long, value_name = "FILE", requires = "tally")]
    key: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, requires = "tally")]
    json: bool,
}

pub fn survey(arguments: &SurveyArguments) -> Ending {
    let text = match (&arguments.output, &arguments.key) {
        (_, Some(key)) => arguments.tallied(key)?,
        (Some(output), None) => arguments.written(output).map_err(one)?,
        (None, None) => return Err(vec![Diagnostic::error("neither `--output` nor `--key` is given")]),
    };
    out::print(&text).map_err(one)?;
    Ok(Exit::Done)
}

impl SurveyArguments {
    /// Writes page and key; says what was written.
    fn written(&self, output: &Path) -> Result<String> {
        refuse_another_file(output)?;
        let beside = output.with_extension("key.json");
        let limit = self.limit.map_or(usize::MAX, |limit| limit as usize);
        let wish =
            Wish { question: &self.question, reference: self.reference.as_deref(), seed: self.seed, limit };
        let Blinded { survey, key, notes } =
            blind::blinded(&pictures::methods(&self.folders, &self.nodes)?, &wish)?;
        notes.iter().for_each(|note| out::tell(note));
        refuse_another_key(&beside, &key)?;
        let page = page::page(&survey);
        // The key first: a page whose key was never written could not be read.
        file::write_if_changed(&beside, key.to_json()?.as_bytes())?;
        file::write_if_changed(output, page.as_bytes())?;
        Ok(format!(
            "{}: {} of {}, survey {}, seed {}, {}\n{}: the key to its answers, which nobody who answers may see\n",
            output.display(),
            count(survey.questions.len(), "question"),
            count(key.methods.len(), "method"),
            survey.id,
            key.seed,
            HumanBytes(page.len() as u64),
            beside.display(),
        ))
    }

    /// What people prefer, for a program or for a person.
    fn tallied(&self, key: &Path) -> Result<String, Vec<Diagnostic>> {
        let key = Key::read(key).map_err(|problem| one(problem.into()))?;
        let (sheets, notes) = answers::read(&self.tally, &key)?;
        let tally = tally::tally(&key, &sheets, notes, self.seed);
        if !self.json {
            return Ok(tally.to_string());
        }
        let json = serde_json::to_string_pretty(&tally).map_err(|error| one(error.into()))?;
        Ok(json + "\n")
    }
}

/// Keeps what is no page of a survey, and pages from getting a name that browsers do not open.
fn refuse_another_file(output: &Path) -> Result<(), Problem> {
    let shown = output.display();
    if output.extension().is_none_or(|end| end != "html") {
        let problem = Problem::new(format!("`{shown}` does not end in .html"));
        return Err(problem.hint("name a file such as `out/survey.html`"));
    }
    if file::is_special(output) {
        return Err(file::special_file(&shown.to_string()));
    }
    if output.exists() && !page::is_page(output) {
        return Err(Problem::new(format!("{shown} is there already, and is no page of a survey"))
            .hint("name another `--output`, or delete it if nobody needs it any more"));
    }
    Ok(())
}

/// Keeps the only thing by which the answers of an older survey can be read.
fn refuse_another_key(path: &Path, key: &Key) -> Result<(), Problem> {
    let shown = path.display();
    let problem = match Key::read(path) {
        Ok(old) if old.survey == key.survey => return Ok(()),
        Ok(old) => Problem::new(format!("{shown} is the key of another survey, {}", old.survey)),
        Err(_) if !path.exists() => return Ok(()),
        Err(_) => Problem::new(format!("{shown} is there already, and is no key of a survey")),
    };
    Err(problem.hint("name another `--output`, or delete the key if nobody answers that survey any more"))
}

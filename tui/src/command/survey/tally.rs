//! Which method people prefer, how often, and how sure that is.

use std::fmt;

use flow_nodes::evaluate::statistics::{Interval, RESAMPLES};
use serde::Serialize;

use super::answers::{Sheet, answered};
use super::key::Key;
use super::statistics::{Counts, bootstrap, majorities, sign_test, wilson};
use crate::show::diagnostics::count;
use crate::show::out::harmless;
use crate::show::table::{Column, table};

/// What the answers to a survey come to.
#[derive(Debug, Serialize)]
pub struct Tally {
    /// The survey's id.
    pub survey: String,
    /// What people were asked.
    pub question: String,
    /// How many people answered.
    pub participants: usize,
    /// How many questions there are.
    pub questions: usize,
    /// How many of them somebody answered.
    pub answered_questions: usize,
    /// How many answers there are in all.
    pub answers: usize,
    /// How often each method was chosen.
    pub methods: Vec<Share>,
    /// How often none was.
    pub neither: Share,
    /// Every two methods.
    pub pairs: Vec<Pair>,
    /// What the resamples were drawn with.
    pub seed: u64,
    /// How many resamples of participants there are.
    pub resamples: usize,
    /// What to know of these numbers.
    pub notes: Vec<String>,
}

/// How often something was chosen.
#[derive(Debug, Serialize)]
pub struct Share {
    /// What it is called.
    pub name: String,
    /// How many times.
    pub chosen: usize,
    /// Of all answers, 0 to 1.
    pub share: f64,
    /// Its 95 % interval if all answers were independent.
    pub wilson: Interval,
    /// Its 95 % interval over participants who answer about these pictures, if there are two.
    pub bootstrap: Option<Interval>,
}

/// Two methods against each other.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// The names of the two.
    pub methods: [String; 2],
    /// How often each was chosen where the other could have been.
    pub wins: [usize; 2],
    /// The two-sided p of the sign test over all answers, if they were independent.
    pub p_if_independent: f64,
    /// How many participants chose each oftener than the other.
    pub majorities: [usize; 2],
    /// The two-sided p of the sign test over participants, in which each has one voice.
    pub p_over_participants: f64,
}

/// Counts the answers of all participants.
pub fn tally(key: &Key, sheets: &[Sheet], told: Vec<String>, seed: u64) -> Tally {
    let participants: Vec<Counts> = sheets.iter().map(|sheet| counts(sheet, key)).collect();
    let answers = participants.iter().map(|counts| counts.answers).sum();
    let sides = key.methods.len() + 1;
    let intervals = (sheets.len() > 1).then(|| bootstrap(&participants, sides, seed));
    let share = |side: usize, name: &str| {
        let chosen = participants.iter().map(|counts| counts.chosen[side]).sum();
        Share {
            name: name.to_owned(),
            chosen,
            share: chosen as f64 / f64::max(answers as f64, 1.0),
            wilson: wilson(chosen, answers),
            bootstrap: intervals.as_ref().map(|intervals| intervals[side]),
        }
    };
    let methods: Vec<Share> = key.methods.iter().enumerate().map(|(side, name)| share(side, name)).collect();
    let neither = share(key.methods.len(), if sides == 3 { "neither" } else { "none of them" });
    let pairs = pairs(&methods, &participants);
    Tally {
        survey: key.survey.clone(),
        question: key.question.clone(),
        participants: sheets.len(),
        questions: key.questions.len(),
        answered_questions: answered(sheets),
        answers,
        neither,
        seed,
        resamples: if intervals.is_some() { RESAMPLES } else { 0 },
        notes: told.into_iter().chain(notes(sheets.len(), pairs.len())).collect(),
        methods,
        pairs,
    }
}

/// How often a participant chose each method, and in the end none.
fn counts(sheet: &Sheet, key: &Key) -> Counts {
    let of =
        |method: Option<&String>| sheet.answers.values().filter(|answer| answer.as_ref() == method).count();
    let chosen = key.methods.iter().map(Some).chain([None]).map(of).collect();
    Counts { chosen, answers: sheet.answers.len() }
}

/// Every two methods. Each question has all of them, so whoever is chosen wins against each other one.
fn pairs(methods: &[Share], participants: &[Counts]) -> Vec<Pair> {
    let end = methods.len();
    let every_two = (0..end).flat_map(|one| (one + 1..end).map(move |two| [one, two]));
    let pair = |sides: [usize; 2]| {
        let wins = sides.map(|side| methods[side].chosen);
        let majorities = majorities(participants, sides);
        Pair {
            methods: sides.map(|side| methods[side].name.clone()),
            wins,
            p_if_independent: sign_test(wins[0], wins[1]),
            majorities,
            p_over_participants: sign_test(majorities[0], majorities[1]),
        }
    };
    every_two.map(pair).collect()
}

/// What these numbers do not say.
fn notes(participants: usize, pairs: usize) -> Vec<String> {
    let independence = match participants {
        1 => {
            "all answers are of one participant: they are not independent, and the intervals and p say nothing of \
             what other people would choose"
        }
        _ => {
            "answers of the same participant are not independent, as Wilson's interval and the p of all answers take \
             them to be: trust the wider interval where two are given, and the p over participants, in which each \
             has one voice"
        }
    };
    let pictures =
        "all of this is of these pictures: other pictures of the same methods may come out otherwise";
    let mut notes = vec![independence.to_owned(), pictures.to_owned()];
    if (2..10).contains(&participants) {
        notes.push(format!("{participants} participants are few to draw {RESAMPLES} resamples of"));
    }
    if pairs > 1 {
        notes.push(format!("p is of each pair alone; of {pairs} pairs one is small by chance more often"));
    }
    notes
}

/// Two tables, and what to know of them.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", harmless(&self.question))?;
        let answered = self.answered_questions;
        writeln!(
            f,
            "survey {}: {} from {} to {answered} of {}\n",
            self.survey,
            count(self.answers, "answer"),
            count(self.participants, "participant"),
            count(self.questions, "question"),
        )?;
        writeln!(f, "{}", shares(&self.methods, &self.neither))?;
        f.write_str(&against_each_other(&self.pairs))?;
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}\n"))
    }
}

fn shares(methods: &[Share], neither: &Share) -> String {
    let mut columns = vec![
        Column::Words("method"),
        Column::Number("chosen"),
        Column::Number("share"),
        Column::Number("95 %\n(Wilson)"),
    ];
    if neither.bootstrap.is_some() {
        columns.push(Column::Number("95 %\n(participants)"));
    }
    let row = |share: &Share| {
        let start = [harmless(&share.name), share.chosen.to_string(), percent(share.share)];
        let intervals = [Some(share.wilson), share.bootstrap].into_iter().flatten().map(range);
        start.into_iter().chain(intervals).collect()
    };
    table(&columns, methods.iter().chain([neither]).map(row))
}

fn against_each_other(pairs: &[Pair]) -> String {
    let columns = [
        Column::Words("pair"),
        Column::Words(""),
        Column::Number("answers"),
        Column::Number("p if answers\nwere independent"),
        Column::Number("participants"),
        Column::Number("p over\nparticipants"),
    ];
    let versus = |[one, two]: [usize; 2]| format!("{one} : {two}");
    let row = |pair: &Pair| {
        let names = pair.methods.iter().map(|name| harmless(name));
        let answers = [versus(pair.wins), probability(pair.p_if_independent)];
        let participants = [versus(pair.majorities), probability(pair.p_over_participants)];
        names.chain(answers).chain(participants).collect()
    };
    table(&columns, pairs.iter().map(row))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn range(interval: Interval) -> String {
    format!("{:.1} .. {:.1} %", 100.0 * interval.low, 100.0 * interval.high)
}

fn probability(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

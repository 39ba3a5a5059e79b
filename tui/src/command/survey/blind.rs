//! From folders with names to a survey without any, and to the key that gives the names back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flow_engine::{Project, Result};
use flow_nodes::picture::{Picture, png, read};
use serde_json::json;

use super::key::{Key, KeyQuestion, Secret};
use super::page::{Choice, Question, Survey};
use super::pictures::{Method, common, files};
use super::runs;
use crate::show::diagnostics::count;

/// How the survey shall be.
pub struct Wish<'a> {
    /// What people are asked.
    pub question: &'a str,
    /// The folder with pictures to stand above the choices.
    pub reference: Option<&'a Path>,
    /// What orders and ids are drawn with.
    pub seed: u64,
    /// How many questions there may be.
    pub limit: usize,
}

/// A survey, and what nobody who answers it may see.
pub struct Blinded {
    /// What people see.
    pub survey: Survey,
    /// What gives the names back.
    pub key: Key,
    /// What the person who makes it should know.
    pub notes: Vec<String>,
}

/// A survey of some methods.
///
/// # Errors
/// No question that every method has a picture for, pictures that cannot be read.
pub fn blinded(methods: &[Method], wish: &Wish<'_>) -> Result<Blinded> {
    let (stems, left_out) = common(methods)?;
    let stems = drawn(stems, wish);
    let references = wish.reference.map(files).transpose()?.unwrap_or_default();
    let of_question: Vec<Vec<PathBuf>> = stems.iter().map(|stem| pictures_of(stem, methods)).collect();
    let all = [of_question.concat(), references.clone()].concat();
    read::check(&all, &Project::current())?;

    let secret = secret(methods, &stems, &all, wish)?;
    let mut notes = Notes::default();
    let mut key = Key {
        survey: secret.id(&["survey"]),
        seed: wish.seed,
        question: wish.question.to_owned(),
        methods: methods.iter().map(|method| method.name.clone()).collect(),
        questions: Default::default(),
    };
    let mut questions = Vec::new();
    let orders = orders(&secret, &stems, &key.methods);
    for ((stem, files), order) in stems.iter().zip(&of_question).zip(&orders) {
        let named = question(&secret, stem, &key.methods, files, order, &mut notes)?;
        let choices = named.choices.iter().map(|(choice, method)| (choice.id.clone(), method.clone()));
        let of_key = KeyQuestion { name: stem.clone(), choices: choices.collect() };
        key.questions.insert(named.id.clone(), of_key);
        let choices = named.choices.into_iter().map(|(choice, _)| choice).collect();
        questions.push(Question { id: named.id, prompt: named.prompt, choices });
    }
    let survey = Survey {
        id: key.survey.clone(),
        question: wish.question.to_owned(),
        references: load(&references)?.iter().map(plain).collect::<Result<_>>()?,
        questions,
    };
    Ok(Blinded { survey, key, notes: left_out.into_iter().chain(notes.told()).collect() })
}

/// As many questions as are wished for, in the order in which they are asked, which the seed alone decides.
fn drawn(mut stems: Vec<String>, wish: &Wish<'_>) -> Vec<String> {
    let order = Secret::new(wish.seed, [&b"order of questions"[..]]);
    stems.sort_by_cached_key(|stem| order.id(&[stem]));
    stems.truncate(wish.limit);
    stems
}

/// The pictures for a question in the order of the methods.
fn pictures_of(stem: &str, methods: &[Method]) -> Vec<PathBuf> {
    methods.iter().filter_map(|method| method.pictures.get(stem).cloned()).collect()
}

/// The secret of everything that the survey is made of.
fn secret(methods: &[Method], stems: &[String], files: &[PathBuf], wish: &Wish<'_>) -> Result<Secret> {
    let names: Vec<&str> = methods.iter().map(|method| method.name.as_str()).collect();
    let mut content = vec![json!([wish.question, names, stems]).to_string().into_bytes()];
    for file in files {
        content.push(blake3::hash(&bytes(file)?).as_bytes().to_vec());
    }
    Ok(Secret::new(wish.seed, content.iter().map(Vec::as_slice)))
}

fn bytes(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The methods of each question in the order of their places on the page, by their numbers.
///
/// Every method stands in every place as often as in any other, or once more or less: as many questions as there are
/// methods make a Latin square, and the secret says which questions these are and which method begins. The page's script
/// moves places as a whole, which keeps this.
fn orders(secret: &Secret, stems: &[String], methods: &[String]) -> Vec<Vec<usize>> {
    let mut rows: Vec<usize> = (0..stems.len()).collect();
    rows.sort_by_cached_key(|&row| secret.id(&["row", &stems[row]]));
    let mut orders = vec![Vec::new(); stems.len()];
    for (square, rows) in rows.chunks(methods.len()).enumerate() {
        let mut order: Vec<usize> = (0..methods.len()).collect();
        order.sort_by_cached_key(|&method| secret.id(&["square", &square.to_string(), &methods[method]]));
        for &row in rows {
            orders[row] = order.clone();
            order.rotate_left(1);
        }
    }
    orders
}

/// A question whose choices still have their methods' names.
struct Named {
    id: String,
    prompt: Option<String>,
    choices: Vec<(Choice, String)>,
}

/// A question, with its choices in an order of the methods. The files are in the methods' own.
fn question(
    secret: &Secret,
    stem: &str,
    methods: &[String],
    files: &[PathBuf],
    order: &[usize],
    notes: &mut Notes,
) -> Result<Named> {
    let pictures = load(files)?;
    notes.sizes += usize::from(pictures.windows(2).any(|two| size(&two[0]) != size(&two[1])));
    let choice = |&number: &usize| {
        let (picture, method) = (&pictures[number], &methods[number]);
        let id = secret.id(&["choice", stem, method]);
        Ok((Choice { id, png: plain(picture)? }, method.clone()))
    };
    let choices = order.iter().map(choice).collect::<Result<Vec<_>>>()?;
    Ok(Named { id: secret.id(&["question", stem]), prompt: shared_prompt(files, notes)?, choices })
}

fn load(files: &[PathBuf]) -> Result<Vec<Picture>> {
    read::load(files, &Project::current(), |_| Ok(()))
}

fn size(picture: &Picture) -> (u32, u32) {
    picture.pixels.dimensions()
}

/// A picture as a file that says nothing of how it was made.
fn plain(picture: &Picture) -> Result<Vec<u8>> {
    png::encode(&picture.pixels, &[])
}

/// The prompt that all pictures carry. If some lack it or have another, it might tell the methods, and there is none.
fn shared_prompt(files: &[PathBuf], notes: &mut Notes) -> Result<Option<String>> {
    let prompts = files.iter().map(|file| Ok(prompt(&bytes(file)?).or_else(|| runs::prompt(file))));
    let prompts = prompts.collect::<Result<BTreeSet<_>>>()?;
    let agree = prompts.len() == 1;
    notes.prompts += usize::from(!agree);
    Ok(prompts.into_iter().next().flatten().filter(|_| agree))
}

/// The first line of the prompt that a picture carries.
fn prompt(bytes: &[u8]) -> Option<String> {
    let texts = png::texts(bytes).ok()?;
    let (_, parameters) = texts.into_iter().find(|(keyword, _)| keyword == png::PARAMETERS)?;
    let line = parameters.lines().next()?.trim();
    // Without a prompt the text begins with what the sampler was told, and that names the model.
    let is_prompt =
        !line.is_empty() && !line.starts_with("Steps: ") && !line.starts_with("Negative prompt: ");
    is_prompt.then(|| line.to_owned())
}

/// In how many questions there is something to know.
#[derive(Default)]
struct Notes {
    sizes: usize,
    prompts: usize,
}

impl Notes {
    fn told(&self) -> impl Iterator<Item = String> {
        let questions = |number| count(number, "question");
        let sizes = (self.sizes > 0).then(|| {
            format!("the choices of {} differ in size, which may tell them apart", questions(self.sizes))
        });
        let prompts = (self.prompts > 0).then(|| {
            let questions = questions(self.prompts);
            format!("the prompts of {questions} are not the same for all methods, and are not shown")
        });
        sizes.into_iter().chain(prompts)
    }
}

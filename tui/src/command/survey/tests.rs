//! From folders to a page, to answers, to the methods' names again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use flow_nodes::picture::png::{self, GRAPH, PARAMETERS};
use image::{Rgb, RgbImage};
use serde_json::json;

use super::blind::{Blinded, Wish, blinded};
use super::{answers, page, pictures, tally};

const METHODS: [&str; 3] = ["methodical", "alternatively", "thirdparty"];

/// Folders with pictures whose red tells the method, and green the question.
struct Folders(tempfile::TempDir);

impl Folders {
    fn new(questions: u8) -> Self {
        let folders = Self(tempfile::tempdir().unwrap());
        for (index, method) in METHODS.iter().enumerate() {
            for question in 0..questions {
                folders.draw(method, &format!("stemmed{question}"), [index as u8, question, 7], "a bear");
            }
        }
        folders
    }

    fn draw(&self, method: &str, stem: &str, colour: [u8; 3], prompt: &str) {
        let parameters = format!("{prompt}\nSteps: 3, Model: {method}").trim().to_owned();
        let texts = [(PARAMETERS, parameters), (GRAPH, format!("{method} {stem}"))];
        let bytes = png::encode(&RgbImage::from_pixel(4, 3, Rgb(colour)), &texts).unwrap();
        let file = self.0.path().join(format!("folder-of-{method}/{stem}.png"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    fn blinded(&self, seed: u64, limit: usize) -> Blinded {
        let folder = |name: &&str| format!("{name}={}/folder-of-{name}", self.0.path().display());
        let arguments: Vec<PathBuf> = METHODS.iter().map(|name| folder(name).into()).collect();
        let methods = pictures::methods(&arguments, &[]).unwrap();
        blinded(&methods, &Wish { question: "Which?", reference: None, seed, limit }).unwrap()
    }

    fn page(&self, seed: u64) -> String {
        page::page(&self.blinded(seed, usize::MAX).survey)
    }
}

/// The attributes of a name in a page.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!(" {name}=\"");
    html.split(begin.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

fn decoded(uri: &str) -> Vec<u8> {
    let data = uri.strip_prefix("data:image/png;base64,").unwrap();
    base64::engine::general_purpose::STANDARD.decode(data).unwrap()
}

/// The questions of a page: the id, and the id and the colour of every choice.
#[expect(clippy::type_complexity, reason = "an id with its choices, read in a test")]
fn questions(page: &str) -> Vec<(String, Vec<(String, Rgb<u8>)>)> {
    let question = |html: &str| {
        let html = html.split("</fieldset>").next().unwrap();
        let colours =
            attributes(html, "src").into_iter().map(|uri| image::load_from_memory(&decoded(uri)).unwrap());
        let colours: Vec<_> = colours.map(|picture| picture.to_rgb8()[(0, 0)]).collect();
        let mut ids = attributes(html, "value");
        assert_eq!((ids.pop(), ids.len()), (Some("neither"), colours.len()));
        let choices = ids.into_iter().map(str::to_owned).zip(colours).collect();
        (attributes(html, "data-question")[0].to_owned(), choices)
    };
    page.split("<fieldset").skip(1).map(question).collect()
}

#[test]
fn no_name_of_a_method_a_folder_or_a_file_is_in_the_page() {
    let page = Folders::new(3).page(0);
    let pictures: Vec<_> = attributes(&page, "src").into_iter().map(decoded).collect();
    assert_eq!(pictures.len(), 9);
    let whole = [vec![page.clone().into_bytes()], pictures.clone()].concat();
    for name in METHODS.iter().chain(&["folder-of", "stemmed", "Steps", "parameters"]) {
        let holds = |bytes: &Vec<u8>| bytes.windows(name.len()).any(|part| part == name.as_bytes());
        assert!(!whole.iter().any(holds), "{name}");
    }
    assert!(pictures.iter().all(|picture| png::texts(picture).unwrap().is_empty()));
    assert!(page.contains("<q>a bear</q>") && !page.contains("data-seed"));
}

#[test]
fn the_same_seed_gives_the_same_page_and_another_another_order() {
    let folders = Folders::new(12);
    let (page, other) = (folders.page(4), folders.page(5));
    assert!(page == folders.page(4));
    let order =
        |page: &str| -> Vec<u8> { questions(page).iter().map(|(_, choices)| choices[0].1[1]).collect() };
    assert_ne!(order(&page), order(&other));
    assert_ne!(order(&page), (0..12).collect::<Vec<_>>());
    let first = |page: &str| -> BTreeMap<u8, u8> {
        questions(page).iter().map(|(_, choices)| (choices[0].1[1], choices[0].1[0])).collect()
    };
    assert_ne!(first(&page), first(&other));
    let ids = |page: &str| -> BTreeSet<String> {
        let ids = |(id, choices): (String, Vec<(String, _)>)| {
            choices.into_iter().map(|(id, _)| id).chain([id]).collect::<Vec<_>>()
        };
        questions(page).into_iter().flat_map(ids).collect()
    };
    assert_eq!((ids(&page).len(), ids(&page).is_disjoint(&ids(&other))), (48, true));
    assert_ne!(attributes(&page, "data-survey"), attributes(&other, "data-survey"));
}

#[test]
fn every_method_stands_in_every_place_equally_often() {
    for (count, range) in [(60, 20..=20), (10, 3..=4), (2, 0..=1)] {
        let questions = questions(&Folders::new(count).page(1));
        for place in 0..3 {
            let methods = questions.iter().map(|(_, choices)| choices[place].1[0]);
            let mut counts = [0; 3];
            methods.for_each(|method| counts[usize::from(method)] += 1);
            assert!(counts.iter().all(|count| range.contains(count)), "{counts:?}");
        }
    }
}

/// Holds what `script_tests.js` claims of the page's script. Where there is no Node to run it, it says so and holds
/// nothing.
#[test]
fn the_script_does_what_its_own_tests_claim() {
    let folders = Folders::new(3);
    let page = folders.0.path().join("page.html");
    std::fs::write(&page, folders.page(0)).unwrap();
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/src/command/survey/script_tests.js");
    match Command::new("node").arg(tests).arg(page).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Not by `eprintln!`, which is kept from those who run tests that succeed.
            let _ = writeln!(std::io::stderr(), "SKIPPED: no node here: the survey's script is not run");
        }
        outcome => {
            let output = outcome.unwrap();
            let told = [output.stdout, output.stderr].map(|told| String::from_utf8_lossy(&told).into_owned());
            assert!(output.status.success(), "{}", told.concat());
        }
    }
}

#[test]
fn every_answer_comes_back_as_the_method_whose_picture_was_chosen() {
    let folders = Folders::new(8);
    let Blinded { survey, key, notes } = folders.blinded(3, usize::MAX);
    assert!(notes.is_empty());
    let questions = questions(&page::page(&survey));
    for (method, name) in METHODS.iter().enumerate() {
        let mut answers = BTreeMap::new();
        for (question, choices) in &questions[1..] {
            let (id, colour) = choices.iter().find(|(_, colour)| colour[0] == method as u8).unwrap();
            answers.insert(question, id.as_str());
            assert_eq!(key.questions[question].name, format!("stemmed{}", colour[1]));
            assert_eq!(&key.questions[question].choices[id], name);
        }
        answers.insert(&questions[0].0, "neither");
        let file = folders.0.path().join("answers.json");
        let saved = json!({
            "survey": survey.id, "participant": "p", "answers": answers,
            "started": "2026-11-23T10:00:00.000Z", "finished": null,
        });
        std::fs::write(&file, saved.to_string()).unwrap();
        let (sheets, told) = answers::read(&[file], &key).unwrap();
        let tally = tally::tally(&key, &sheets, told, 0);
        let chosen: Vec<_> = tally.methods.iter().map(|share| (share.name.as_str(), share.chosen)).collect();
        let expected: Vec<_> = METHODS.map(|other| (other, if other == *name { 7 } else { 0 })).to_vec();
        assert_eq!((chosen, tally.neither.chosen, tally.answers), (expected, 1, 8));
        let expected: Vec<_> = [(0, 1), (0, 2), (1, 2)]
            .map(|(one, two)| if one == method || two == method { 2.0 / 128.0 } else { 1.0 })
            .to_vec();
        let found: Vec<_> = tally.pairs.iter().map(|pair| pair.p_if_independent).collect();
        assert!(found.iter().zip(&expected).all(|(p, expected)| (p - expected).abs() < 1e-12), "{found:?}");
        // One participant is one voice, which says nothing.
        assert!(tally.pairs.iter().all(|pair| pair.p_over_participants > 0.999));
    }
}

#[test]
fn a_limit_draws_some_questions() {
    let folders = Folders::new(9);
    let drawn = |seed| -> Vec<String> {
        folders.blinded(seed, 4).key.questions.into_values().map(|question| question.name).collect()
    };
    let set = |seed| drawn(seed).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(set(1).len(), 4);
    assert!((2..9).any(|seed| set(seed) != set(1)));
}

#[test]
fn a_prompt_that_may_tell_the_method_is_not_shown() {
    let folders = Folders::new(1);
    folders.draw(METHODS[1], "stemmed0", [1, 0, 7], "a sks bear");
    let Blinded { survey, notes, .. } = folders.blinded(0, 9);
    assert_eq!(survey.questions[0].prompt, None);
    assert_eq!(notes, ["the prompts of 1 question are not the same for all methods, and are not shown"]);
    // One that a picture lacks may be of the others alone.
    folders.draw(METHODS[1], "stemmed0", [1, 0, 7], "");
    let Blinded { survey, notes, .. } = folders.blinded(0, 9);
    assert_eq!((&survey.questions[0].prompt, notes.len()), (&None, 1));
    // What stands in the prompt's place if there is none names the model.
    METHODS.iter().for_each(|method| folders.draw(method, "stemmed0", [0, 0, 7], ""));
    let Blinded { survey, notes, .. } = folders.blinded(0, 9);
    assert_eq!((&survey.questions[0].prompt, notes.len()), (&None, 0));
}

#[test]
fn choices_of_other_sizes_are_told() {
    let folders = Folders::new(2);
    let file = folders.0.path().join("folder-of-thirdparty/stemmed1.png");
    let prompt = [(PARAMETERS, "a bear".to_owned())];
    std::fs::write(file, png::encode(&RgbImage::new(5, 3), &prompt).unwrap()).unwrap();
    let notes = folders.blinded(0, 9).notes;
    assert_eq!(notes, ["the choices of 1 question differ in size, which may tell them apart"]);
}

//! `flow survey`: a blind page from folders of pictures, and what the answers to it come to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::page::fits_every_width;
use super::{Call, Workshop, flow};

/// A workshop with two methods' pictures for three questions, and one that a method lacks.
fn workshop() -> Workshop {
    let workshop = Workshop::new();
    for (red, method) in [(1, "rank-reduced"), (2, "low-rank")] {
        let folder = workshop.path("out").join(method);
        std::fs::create_dir_all(&folder).unwrap();
        for green in 0..3 {
            let picture = image::RgbImage::from_pixel(8, 8, image::Rgb([red, green, 0]));
            picture.save(folder.join(format!("{green:02}.png"))).unwrap();
        }
    }
    std::fs::copy(workshop.path("out/low-rank/00.png"), workshop.path("out/low-rank/extra.png")).unwrap();
    workshop
}

fn survey(workshop: &Workshop, more: &[&str]) -> Call {
    let start = ["survey", "out/rank-reduced", "out/low-rank"];
    flow(&workshop.path(""), &[&start, more].concat())
}

fn written(workshop: &Workshop) -> (String, Value) {
    let call = survey(workshop, &["--output", "page/survey.html"]);
    assert_eq!(call.code, Some(0), "{}", call.stderr);
    assert!(
        call.stdout.starts_with("page/survey.html: 3 questions of 2 methods, survey "),
        "{}",
        call.stdout
    );
    assert_eq!(call.stderr, "left out: extra, which rank-reduced lacks\n");
    let page = std::fs::read_to_string(workshop.path("page/survey.html")).unwrap();
    let key = std::fs::read_to_string(workshop.path("page/survey.key.json")).unwrap();
    (page, serde_json::from_str(&key).unwrap())
}

/// Writes the answers of a participant who always chooses one method, but for as many questions, in the key's order.
fn answer(
    workshop: &Workshop,
    key: &Value,
    participant: &str,
    method: &str,
    but: usize,
    minute: u32,
) -> String {
    let questions = key["questions"].as_object().unwrap();
    let choice = |(index, (id, question)): (usize, (&String, &Value))| {
        let choices = question["choices"].as_object().unwrap();
        let chosen = choices.iter().find(|(_, name)| *name == method).unwrap().0;
        (id.clone(), if index < but { "neither".to_owned() } else { chosen.clone() })
    };
    let answers: BTreeMap<_, _> = questions.iter().enumerate().map(choice).collect();
    let saved = json!({
        "survey": key["survey"], "participant": participant, "answers": answers,
        "started": "2026-11-23T10:00:00.000Z", "finished": format!("2026-11-23T10:{minute:02}:00.000Z"),
    });
    let name = format!("answers-{participant}-{minute}.json");
    std::fs::write(workshop.path(&name), saved.to_string()).unwrap();
    name
}

fn tally(workshop: &Workshop, files: &[String], more: &[&str]) -> Call {
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let key = ["--key", "page/survey.key.json"];
    flow(&workshop.path(""), &[&["survey", "--tally"], &files[..], &key, more].concat())
}

#[test]
fn a_page_names_no_method_and_is_the_same_again() {
    let workshop = workshop();
    let (page, key) = written(&workshop);
    for name in ["rank-reduced", "low-rank", "extra", "out/"] {
        // In pictures as text they could only stand by chance, and have no `-` there.
        assert!(
            !page.split('"').filter(|part| !part.starts_with("data:")).any(|part| part.contains(name)),
            "{name}"
        );
    }
    assert_eq!(key["methods"], json!(["rank-reduced", "low-rank"]));
    assert_eq!(page.matches("<fieldset").count(), 3);
    assert!(
        page.contains("Which picture shows the subject best?") && page.contains("Content-Security-Policy")
    );
    assert_eq!(written(&workshop), (page, key));
    fits_every_width(&workshop.path("page/survey.html"));
}

#[test]
fn the_methods_of_a_run_are_the_nodes_that_drew_in_it() {
    let workshop = Workshop::new();
    workshop.graph(
        r#""base": MODEL,
        "weak": DDIMSample(model: "base", prompt: "a cat", count: 2, steps: 1, guidance: 1.0),
        "strong": DDIMSample(model: "base", prompt: "a cat", count: 2, steps: 1, guidance: 7.0),
        "loud": DDIMSample(model: "base", prompt: "a cat", count: 2, steps: 1, guidance: 9.0),
        "loaded": LoadImages(path: "data")"#,
    );
    std::fs::create_dir(workshop.path("data")).unwrap();
    image::RgbImage::new(8, 8).save(workshop.path("data/00.png")).unwrap();
    workshop.run(&[]);
    let ask = |more: &[&str]| {
        flow(&workshop.path(""), &[&["survey", "last", "--output", "out/survey.html"], more].concat())
    };
    let call = ask(&["--node", "weak", "--node", "strong"]);
    assert!(call.stdout.contains("2 questions of 2 methods"), "{} {}", call.stdout, call.stderr);
    let key = std::fs::read_to_string(workshop.path("out/survey.key.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&key).unwrap()["methods"], json!(["strong", "weak"]));
    let page = std::fs::read_to_string(workshop.path("out/survey.html")).unwrap();
    assert!(page.contains("a cat"));
    let said = page.split('"').filter(|part| !part.starts_with("data:"));
    let naming: Vec<_> = said.filter(|part| part.contains("strong")).collect();
    assert!(naming.is_empty(), "{naming:?}");
    std::fs::remove_file(workshop.path("out/survey.key.json")).unwrap();
    assert!(ask(&[]).stdout.contains("2 questions of 3 methods"));
    let call = ask(&["--node", "nobody"]);
    assert!(
        call.code == Some(2) && call.stderr.contains("no pictures were drawn by nobody"),
        "{}",
        call.stderr
    );
}

#[test]
fn answers_are_counted_for_people_and_for_programs() {
    let workshop = workshop();
    let (_, key) = written(&workshop);
    let files = [
        answer(&workshop, &key, "one", "rank-reduced", 0, 5),
        answer(&workshop, &key, "two", "low-rank", 1, 6),
        answer(&workshop, &key, "two", "rank-reduced", 1, 7),
    ];
    let report: Value = serde_json::from_str(&tally(&workshop, &files, &["--json"]).stdout).unwrap();
    let counts = [&report["participants"], &report["answers"], &report["methods"][0]["chosen"]];
    assert_eq!(counts, [2, 6, 5].map(Value::from).each_ref());
    assert_eq!(
        (&report["methods"][0]["name"], &report["neither"]["chosen"]),
        (&json!("rank-reduced"), &json!(1))
    );
    let pair = &report["pairs"][0];
    assert_eq!((&pair["wins"], &pair["p_if_independent"]), (&json!([5, 0]), &json!(0.0625)));
    assert_eq!((&pair["majorities"], &pair["p_over_participants"]), (&json!([2, 0]), &json!(0.5)));
    // All of one and two thirds of the other: 1/6 to each side of 5/6, and for only two participants √2 times that.
    let [low, high] = ["low", "high"].map(|end| report["methods"][0]["bootstrap"][end].as_f64().unwrap());
    assert!((low - (5.0 - 2.0_f64.sqrt()) / 6.0).abs() < 1e-12 && high == 1.0, "{low} {high}");
    assert!(report["methods"][0]["wilson"]["low"].as_f64().unwrap() < low, "{report}");

    let text = tally(&workshop, &files, &[]).stdout;
    assert!(text.contains("6 answers from 2 participants to 3 of 3 questions"), "{text}");
    assert!(text.contains("only answers-two-7.json counts, the newer one"), "{text}");
    assert!(text.contains("83.3 %") && text.contains("43.6 .. 97.0 %") && text.contains("0.0625"), "{text}");
    assert!(text.contains("are not independent") && text.contains("trust the wider interval"), "{text}");
    assert!(text.contains("all of this is of these pictures"), "{text}");
    assert!(text.contains("p if answers") && text.contains("5 : 0") && text.contains("2 : 0"), "{text}");
    assert_eq!(tally(&workshop, &files, &[]).stdout, text);

    let alone: Value = serde_json::from_str(&tally(&workshop, &files[..1], &["--json"]).stdout).unwrap();
    assert!(alone["methods"][0]["bootstrap"].is_null() && alone["resamples"] == 0);
}

#[test]
fn all_files_that_are_no_answers_are_told_at_once() {
    let workshop = workshop();
    let (_, key) = written(&workshop);
    let good = answer(&workshop, &key, "one", "low-rank", 0, 5);
    let text = std::fs::read_to_string(workshop.path(&good)).unwrap();
    let id = key["survey"].as_str().unwrap();
    let question = key["questions"].as_object().unwrap().keys().next().unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut saved: Value = serde_json::from_str(&text).unwrap();
        change(&mut saved);
        saved.to_string()
    };
    let broken = [
        ("empty.json", String::new(), "is empty"),
        ("cut.json", text[..text.len() / 2].to_owned(), "holds no answers"),
        ("list.json", "[]".to_owned(), "holds no answers"),
        ("other.json", text.replace(id, "0123456789abcdef"), "answers another survey, 0123456789abcdef"),
        (
            "choice.json",
            changed(&|saved| saved["answers"][question] = "x".into()),
            "chooses `x`, which is no choice",
        ),
        (
            "question.json",
            changed(&|saved| saved["answers"]["x"] = "neither".into()),
            "`x`, which is no question",
        ),
        ("none.json", changed(&|saved| saved["answers"] = json!({})), "answers no question"),
        ("who.json", changed(&|saved| saved["participant"] = "".into()), "names no participant"),
        ("time.json", changed(&|saved| saved["finished"] = "soon".into()), "has `soon` where a time belongs"),
    ];
    let mut files = vec![good, "gone.json".to_owned()];
    for (name, text, _) in &broken {
        std::fs::write(workshop.path(name), text).unwrap();
        files.push((*name).to_owned());
    }
    let call = tally(&workshop, &files, &[]);
    assert_eq!((call.code, call.stdout.as_str()), (Some(2), ""));
    for (name, _, said) in &broken {
        let line = call.stderr.lines().find(|line| line.contains(name));
        assert!(line.is_some_and(|line| line.contains(said)), "{name}: {}", call.stderr);
    }
    assert!(call.stderr.contains("gone.json cannot be read") && call.stderr.contains("10 errors in all"));
}

#[test]
fn what_makes_no_survey_is_refused_with_the_reason() {
    let workshop = workshop();
    let folder = workshop.path("");
    std::fs::create_dir_all(workshop.path("other/low-rank")).unwrap();
    std::fs::create_dir_all(workshop.path("twice")).unwrap();
    for file in ["other/low-rank/99.png", "twice/00.png", "twice/00.webp"] {
        image::RgbImage::new(8, 8).save(workshop.path(file)).unwrap();
    }
    std::fs::create_dir_all(workshop.path("broken")).unwrap();
    std::fs::write(workshop.path("broken/00.png"), "no picture").unwrap();
    for (second, said) in [
        ("other/low-rank", "two methods are called `low-rank`"),
        ("x=other/low-rank", "there is no picture that every method has"),
        ("x=gone", "`gone` does not exist"),
        ("graphs/../graphs", "there is no picture in"),
        ("out/low-rank/00.png", "is no folder"),
        ("=other/low-rank", "gives a method no name"),
        ("twice", "are pictures of one name"),
        ("broken", "cannot read broken/00.png"),
    ] {
        let call = flow(&folder, &["survey", "out/low-rank", second, "--output", "a.html"]);
        assert!(call.code == Some(2) && call.stderr.contains(said), "{second}: {}", call.stderr);
    }
    let call = flow(&folder, &["survey", "out/low-rank", "--output", "a.html"]);
    assert!(call.code == Some(2) && call.stderr.contains("needs two methods"), "{}", call.stderr);
    assert!(!workshop.path("a.html").exists() && !workshop.path("a.key.json").exists());
    for arguments in [
        &["survey"][..],
        &["survey", "out/low-rank", "out/rank-reduced"],
        &["survey", "--tally", "a.json"],
        &["survey", "--key", "a.key.json"],
        &["survey", "out/low-rank", "x=out/low-rank", "--output", "a.html", "--limit", "0"],
        &["survey", "out/low-rank", "--tally", "a.json", "--key", "a.key.json"],
    ] {
        assert_eq!(flow(&folder, arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn the_key_of_another_survey_is_kept() {
    let workshop = workshop();
    let (page, key) = written(&workshop);
    let call = survey(&workshop, &["--output", "page/survey.html", "--seed", "1"]);
    assert!(call.code == Some(2) && call.stderr.contains("is the key of another survey"), "{}", call.stderr);
    assert_eq!(written(&workshop), (page, key));
}

#[test]
fn only_a_page_of_a_survey_is_written_over() {
    let workshop = workshop();
    let path = workshop.path("page.html");
    std::fs::write(&path, "<!DOCTYPE html><title>Mine</title>").unwrap();
    let call = survey(&workshop, &["--output", "page.html"]);
    assert!(call.code == Some(2) && call.stderr.contains("is no page of a survey"), "{}", call.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "<!DOCTYPE html><title>Mine</title>");
    assert!(!workshop.path("page.key.json").exists());

    let (page, _) = written(&workshop);
    let cut = &page.as_bytes()[..page.len() / 2];
    std::fs::write(workshop.path("page/survey.html"), cut).unwrap();
    assert_eq!(written(&workshop).0, page);

    for other in ["page", "page.htm", "page.png", ".html", "out/low-rank/00.png"] {
        let call = survey(&workshop, &["--output", other]);
        assert!(call.code == Some(2) && call.stderr.contains("does not end in .html"), "{}", call.stderr);
    }
    assert!(image::open(workshop.path("out/low-rank/00.png")).is_ok());
}

#[test]
fn references_stand_above_and_a_limit_holds() {
    let workshop = workshop();
    let more = ["--reference", "out/low-rank", "--limit", "2", "--question", "Which is <best>?"];
    let call = survey(&workshop, &[&["--output", "page/survey.html"], &more[..]].concat());
    assert_eq!(call.code, Some(0), "{}", call.stderr);
    let page = std::fs::read_to_string(workshop.path("page/survey.html")).unwrap();
    assert_eq!((page.matches("<fieldset").count(), page.matches("alt=\"Reference picture").count()), (2, 4));
    assert!(page.contains("Which is &lt;best&gt;?"));
}

//! The event stream, as a program reads it.

use super::Workshop;
use serde_json::Value;

fn records(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn every_line_has_schema_seq_t_and_type_and_tells_the_story_in_order() {
    let workshop = Workshop::new();
    workshop.graph(r#""base": MODEL, "p": DDIMSample(model: "base", prompt: "x", steps: 2), "out": SaveImages(images: "p", path: "out/p")"#);
    let call = workshop.run(&["--ui", "json", "--events", "events.ndjson", "--jobs", "1"]);
    let records = records(&call.stdout);
    for (index, record) in records.iter().enumerate() {
        assert_eq!((&record["schema"], &record["seq"]), (&1.into(), &index.into()));
        assert!(record["t"].is_number() && record["type"].is_string(), "{record}");
    }
    // Which files were read for the first time depends on which were read lately.
    let story: Vec<_> = records
        .iter()
        .filter(|record| record["type"] != "file_digested")
        .map(|record| {
            format!("{} {}", record["type"].as_str().unwrap(), record["node"].as_str().unwrap_or_default())
        })
        .collect();
    assert_eq!(
        story,
        [
            "run_started ",
            "plan ",
            "node_queued base",
            "cache_miss base",
            "node_started base",
            "node_finished base",
            "node_queued p",
            "cache_miss p",
            "node_started p",
            "kept p",
            "kept p",
            "kept p",
            "kept p",
            "progress p",
            "progress p",
            "node_finished p",
            "node_queued out",
            "node_started out",
            "preview out",
            "progress out",
            "node_finished out",
            "run_finished ",
        ]
    );
    assert_eq!(std::fs::read_to_string(workshop.path("events.ndjson")).unwrap(), call.stdout);
}

#[test]
fn a_rejected_graph_is_one_event_with_every_place() {
    let workshop = Workshop::new();
    workshop.graph(r#""p": DDIMSample(model: "base", prompt: "x"), "q": Nothing()"#);
    let call = workshop.call("run", &["--ui", "json"]);
    assert_eq!((call.code, call.stderr.as_str()), (Some(2), ""));
    let records = records(&call.stdout);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["type"], "graph_rejected");
    let places: Vec<_> =
        records[0]["diagnostics"].as_array().unwrap().iter().map(|told| told["line"].as_u64()).collect();
    assert_eq!(places, [Some(2), Some(2)]);
}

#[test]
fn a_graph_that_cannot_be_read_is_rejected_in_the_stream_too() {
    let workshop = Workshop::new();
    let call = super::flow(&workshop.path(""), &["run", "graphs/nothing.ron", "--ui", "json"]);
    assert_eq!(call.code, Some(2));
    assert_eq!(records(&call.stdout)[0]["type"], "graph_rejected");
}

#[test]
fn a_failed_node_is_told_with_its_place_and_what_depends_on_it_is_skipped() {
    let workshop = Workshop::new();
    workshop.graph(
        r#""photos": LoadImages(path: "photos"), "out": SaveImages(images: "photos", path: "out/one.png")"#,
    );
    std::fs::create_dir(workshop.path("photos")).unwrap();
    for name in ["a.png", "b.png"] {
        std::fs::copy(
            super::root().join("data/mini-dreambooth/cat/00.png"),
            workshop.path("photos").join(name),
        )
        .unwrap();
    }
    let call = workshop.call("run", &["--ui", "json"]);
    assert_eq!(call.code, Some(1));
    let failed = records(&call.stdout).into_iter().find(|record| record["type"] == "node_failed").unwrap();
    assert_eq!(failed["node"], "out");
    assert_eq!(failed["diagnostic"]["line"], 2);
    assert!(!workshop.path("out/one.png").exists());
}

#[test]
fn no_ui_prints_nothing_but_errors() {
    let workshop = Workshop::new();
    workshop.graph(r#""base": MODEL"#);
    let call = workshop.run(&["--ui", "none"]);
    assert_eq!((call.stdout.as_str(), call.stderr.as_str()), ("", ""));
}

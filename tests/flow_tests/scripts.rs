//! Scripts as the program runs them, and what it writes about graphs: expansions, layouts, schemas.

use std::fs;

use serde_json::Value;

use super::store::watched;
use super::{Workshop, flow, flow_in, root};

/// A workshop with the embedded models and the scripts that Flow ships.
fn with_scripts() -> Workshop {
    let workshop = Workshop::new();
    #[cfg(unix)]
    for folder in ["models", "data"] {
        std::os::unix::fs::symlink(root().join(folder), workshop.path(folder)).unwrap();
    }
    super::copy_folder(&root().join("scripts"), &workshop.path("scripts"));
    workshop
}

fn shipped() -> Vec<std::path::PathBuf> {
    let folders = ["scripts", "scripts/paper"];
    let entries = folders.map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let entries = entries.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "rhai")).collect();
    scripts.sort();
    scripts
}

/// Calls the program in a workshop; it has to end well.
fn done(workshop: &Workshop, arguments: &[&str]) -> String {
    let call = flow(&workshop.path(""), arguments);
    assert_eq!(call.code, Some(0), "{arguments:?}: {}", call.stderr);
    call.stdout
}

#[test]
#[cfg(unix)]
fn a_shipped_script_and_its_expansion_have_the_same_keys() {
    let workshop = with_scripts();
    let scripts = shipped();
    assert!(scripts.len() >= 4);
    for script in scripts {
        let name = script.file_stem().unwrap().to_str().unwrap();
        let script = script.strip_prefix(root()).unwrap().to_str().unwrap();
        let graph = format!("graphs/{name}.ron");
        done(&workshop, &["check", script]);
        fs::write(workshop.path(&graph), done(&workshop, &["expand", script])).unwrap();
        assert_eq!(done(&workshop, &["diff", script, &graph]), "the same meaning\n", "{name}");
        assert_eq!(keys(&workshop, script), keys(&workshop, &graph), "{name}");
        assert_eq!(done(&workshop, &["fmt", "--check", &graph]), "", "{name}");
    }
}

/// What is planned for each node, with the keys that are known before anything ran.
fn keys(workshop: &Workshop, graph: &str) -> Vec<Value> {
    let plan: Value = serde_json::from_str(&done(workshop, &["plan", graph, "--json"])).unwrap();
    let key = |node: &Value| serde_json::json!([node["node"], node["kind"], node["inputs"], node["key"]]);
    let keys: Vec<Value> = plan["nodes"].as_array().unwrap().iter().map(key).collect();
    assert!(keys.iter().any(|node| node[3].is_string()), "{keys:?}");
    keys
}

#[test]
#[cfg(unix)]
fn a_script_runs_with_its_parameters_and_its_expansion_finds_every_result() {
    let workshop = with_scripts();
    let set = ["--set", "scales=[0.0, 0.5]", "--set", "count=1", "--set", "Grid_1.title=\"two\""];
    let with = |verb: &'static str| [&[verb, "scripts/scale_grid.rhai"], &set[..]].concat();
    done(&workshop, &with("run"));
    let sheet = image::open(workshop.path("out/scale_grid/sheet.png")).unwrap();
    assert!(sheet.height() > 2 * 64, "{}", sheet.height());
    fs::write(workshop.path("graphs/again.ron"), done(&workshop, &with("expand"))).unwrap();
    let plan: Value =
        serde_json::from_str(&done(&workshop, &["plan", "graphs/again.ron", "--json"])).unwrap();
    let states: Vec<_> = plan["nodes"].as_array().unwrap().iter().map(|node| &node["state"]).collect();
    assert!(states.iter().all(|state| *state != "run" && *state != "depends"), "{plan:#}");
}

#[test]
fn a_parameter_of_the_wrong_name_or_type_is_refused_at_its_place() {
    for (set, expected) in [
        ("scalse=[1.0]", "did you mean `scales`?"),
        ("scales=1", "takes a list"),
        ("count=\"four\"", "takes a whole number"),
        ("scale 9.steps=3", "there is no node `scale 9` to set"),
    ] {
        let call = flow(root(), &["check", "scripts/scale_grid.rhai", "--set", set]);
        assert_eq!(call.code, Some(2), "{set}: {}", call.stderr);
        assert!(call.stderr.contains(expected) && call.stderr.contains("--set:1:"), "{set}: {}", call.stderr);
    }
}

#[test]
#[cfg(unix)]
fn an_edited_module_of_a_watched_script_is_seen() {
    let workshop = with_scripts();
    let module = |text: &str| fs::write(workshop.path("scripts/parts.rhai"), text).unwrap();
    let photo = "fn photo(model) { model.DDIMSample(#{ prompt: \"a\", steps: 1 }).named(\"photo\") }";
    module(photo);
    let script = "import \"parts\" as parts;\nparts::photo(LoadSDXL(#{ path: \"models/mini-sdxl\" }));";
    fs::write(workshop.path("scripts/main.rhai"), script).unwrap();
    watched(&workshop, "scripts/main.rhai", |until| {
        until("run_finished");
        module(&photo.replace("steps: 1", "stepps: 2"));
        let problem = &until("graph_rejected")["diagnostics"][0];
        assert!(problem["file"].as_str().unwrap().ends_with("parts.rhai"), "{problem}");
        assert!(problem["causes"][0].as_str().unwrap().contains("`photo`"), "{problem}");
        module(&photo.replace("steps: 1", "steps: 2"));
        assert_eq!(until("graph_reloaded")["changed"], serde_json::json!(["photo"]));
        assert_eq!(until("run_finished")["status"], "done");
        fs::write(workshop.path("scripts/main.rhai"), script.replace("mini-sdxl\" }", "mini-sdxl\", }"))
            .unwrap();
        fs::remove_file(workshop.path("scripts/parts.rhai")).unwrap();
        until("graph_rejected");
        module(&photo.replace("steps: 1", "steps: 3"));
        assert_eq!(until("graph_reloaded")["changed"], serde_json::json!(["photo"]));
        until("run_finished");
    });
}

#[test]
fn every_verb_that_takes_a_graph_takes_a_script() {
    let script = "scripts/order.rhai";
    let told = |arguments: &[&str]| {
        let call = flow(root(), arguments);
        assert_eq!(call.code, Some(0), "{arguments:?}: {}", call.stderr);
        call.stdout
    };
    assert!(told(&["check", script]).contains("order.rhai: 13 nodes"), "{}", told(&["check", script]));
    assert!(told(&["plan", script]).contains("PaRa then LoRA"));
    assert!(told(&["dag", script, "--format", "dot"]).contains("OrderReport"));
    assert!(told(&["explain", script, "LoRA then PaRa"]).contains("DDIMSample"));
    let call = flow(root(), &["expand", "graphs/quickstart.ron"]);
    assert!(
        call.stdout.contains("steps: 30"),
        "a graph file is expanded with every default: {}",
        call.stdout
    );
}

#[test]
fn the_shipped_graphs_are_in_their_layout_and_a_broken_one_is_told() {
    let folders = ["graphs", "graphs/train"].map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let files = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let graphs: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "ron")).collect();
    let graphs: Vec<&str> = graphs.iter().map(|path| path.to_str().unwrap()).collect();
    assert!(graphs.len() > 8);
    let call = flow(root(), &[&["fmt", "--check"], &graphs[..]].concat());
    assert_eq!((call.code, call.stdout.as_str()), (Some(0), ""), "{}", call.stderr);
    let workshop = Workshop::new();
    fs::write(workshop.path("a.ron"), "Graph(nodes:{\"a\":Grid( images:[\"b\"],),})").unwrap();
    fs::write(workshop.path("b.ron"), "Graph(nodes: {").unwrap();
    let call = flow(&workshop.path(""), &["fmt", "a.ron", "b.ron"]);
    assert!(call.code == Some(2) && call.stderr.contains("b.ron:1:14"), "{}", call.stderr);
    let call = flow(&workshop.path(""), &["fmt", "--check", "a.ron"]);
    assert_eq!((call.code, call.stdout.as_str()), (Some(1), "a.ron\n"));
    let call = flow(&workshop.path(""), &["fmt", "a.ron"]);
    assert_eq!((call.code, call.stdout.as_str()), (Some(0), "a.ron\n"));
    let text = fs::read_to_string(workshop.path("a.ron")).unwrap();
    assert_eq!(text, "Graph(\n    nodes: {\n        \"a\": Grid(images: [\"b\"]),\n    },\n)\n");
    let piped = flow_in(&workshop.path(""), &["fmt", "-"])
        .stdin(fs::File::open(workshop.path("a.ron")).unwrap())
        .output();
    assert_eq!(String::from_utf8(piped.unwrap().stdout).unwrap(), text);
}

#[test]
fn what_editors_need_is_written_from_the_registry() {
    let workshop = Workshop::new();
    done(&workshop, &["schema", "editor"]);
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(workshop.path("editor/flow.schema.json")).unwrap()).unwrap();
    let definitions = fs::read_to_string(workshop.path("editor/flow.d.rhai")).unwrap();
    let kinds = flow_in(root(), &["nodes"]).output().unwrap();
    let kinds = String::from_utf8(kinds.stdout).unwrap();
    let kinds: Vec<_> =
        kinds.lines().filter_map(|line| line.split_once(" -> ")).map(|(call, _)| call).collect();
    assert!(kinds.len() >= 10);
    for kind in kinds {
        let kind = kind.split(['(', ' ']).next().unwrap();
        assert!(schema["$defs"][kind]["properties"].is_object(), "{kind}");
        assert!(definitions.contains(&format!("fn {kind}(fields: Map)")), "{kind}");
    }
}

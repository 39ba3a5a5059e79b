//! What is stored, what runs again, and why: the program on its store.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{Call, Workshop, flow, flow_in, root};

/// Nodes with `TINY` for the tiny model and `ADAPTERS` for the folder with adapters for it.
fn nodes(text: &str) -> String {
    let golden = root().join("tests/golden");
    let tiny = format!("LoadSDXL(path: {:?})", golden.join("tiny-sdxl"));
    text.replace("TINY", &tiny).replace("ADAPTERS", &golden.join("adapters").display().to_string())
}

const PICTURE: &str = r#""base": TINY,
    "picture": DDIMSample(model: "base", prompt: "a bear", steps: 2, seed: 1),
    "out": SaveImages(images: "picture", path: "out")"#;

fn events(call: &Call) -> Vec<Value> {
    call.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs the graph and tells which nodes were kept and which ran, by name.
fn told(workshop: &Workshop, more: &[&str]) -> Vec<String> {
    let arguments: Vec<_> = more.iter().copied().chain(["--ui", "json"]).collect();
    let call = workshop.run(&arguments);
    let word = |event: &Value| match event["type"].as_str().unwrap() {
        "cache_hit" => Some(format!("kept {}", event["node"].as_str().unwrap())),
        "node_started" => Some(format!("ran {}", event["node"].as_str().unwrap())),
        _ => None,
    };
    let mut told: Vec<_> = events(&call).iter().filter_map(word).collect();
    told.sort_by_key(|line| line.split_once(' ').map(|(_, name)| name.to_owned()));
    told
}

/// The states of a plan, and why.
fn planned(workshop: &Workshop, more: &[&str]) -> BTreeMap<String, (String, String)> {
    let arguments: Vec<_> = more.iter().copied().chain(["--json"]).collect();
    let call = workshop.call("plan", &arguments);
    assert_eq!(call.code, Some(0), "{}", call.stderr);
    let plan: Value = serde_json::from_str(&call.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let node = |node: &Value| (text(&node["node"]), (text(&node["state"]), text(&node["why"])));
    plan["nodes"].as_array().unwrap().iter().map(node).collect()
}

#[test]
fn a_changed_seed_runs_the_sampler_and_keeps_the_model() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(PICTURE));
    assert_eq!(told(&workshop, &[]), ["ran base", "ran out", "ran picture"]);
    let first = fs::read(workshop.path("out/00.png")).unwrap();
    assert_eq!(told(&workshop, &[]), ["kept base", "ran out", "kept picture"]);
    assert_eq!(told(&workshop, &["--set", "picture.seed=2"]), ["kept base", "ran out", "ran picture"]);
    assert_ne!(fs::read(workshop.path("out/00.png")).unwrap(), first);
    assert_eq!(told(&workshop, &[]), ["kept base", "ran out", "kept picture"]);
    assert_eq!(fs::read(workshop.path("out/00.png")).unwrap(), first);
    assert_eq!(told(&workshop, &["--no-cache"]), ["ran base", "ran out", "ran picture"]);
    assert_eq!(fs::read(workshop.path("out/00.png")).unwrap(), first);
}

#[test]
fn a_plan_says_what_would_run_and_which_part_of_the_key_changed() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(PICTURE));
    let state = |plan: &BTreeMap<String, (String, String)>, node: &str| plan[node].0.clone();
    let fresh = planned(&workshop, &[]);
    assert_eq!(
        [state(&fresh, "base"), state(&fresh, "picture"), state(&fresh, "out")],
        ["run", "depends", "volatile"]
    );
    assert_eq!(fresh["base"].1, "it has not run before");
    workshop.run(&[]);
    let kept = planned(&workshop, &[]);
    assert_eq!(
        [state(&kept, "base"), state(&kept, "picture"), state(&kept, "out")],
        ["hit", "hit", "volatile"]
    );
    let changed = planned(&workshop, &["--set", "picture.seed=2", "--set", "picture.steps=3"]);
    assert_eq!(changed["picture"], ("run".to_owned(), "`steps` is 3, was 2; `seed` is 2, was 1".to_owned()));
    let shown = workshop.call("run", &["--dry-run", "--set", "picture.steps=20"]).stdout;
    assert!(shown.contains("1 run, 0 depends, 1 volatile, 1 hit of 3 nodes"), "{shown}");
    assert!(shown.contains("~ measured with other shapes"), "{shown}");
    assert_eq!(fs::read_dir(workshop.path("runs")).unwrap().count(), 1, "a plan left a run behind");
}

#[test]
fn an_adapter_that_was_rewritten_at_the_same_path_changes_the_picture() {
    let workshop = Workshop::new();
    let adapters = root().join("tests/golden/adapters");
    let text = r#""base": TINY, "lora": LoadAdapter(path: "style.safetensors"),
        "styled": ApplyLoRA(model: "base", lora: "lora"),
        "picture": DDIMSample(model: "styled", prompt: "a bear", steps: 2),
        "out": SaveImages(images: "picture", path: "out")"#;
    workshop.graph(&nodes(text));
    let style = workshop.path("style.safetensors");
    fs::copy(adapters.join("lora_kohya.safetensors"), &style).unwrap();
    workshop.run(&[]);
    let first = fs::read(workshop.path("out/00.png")).unwrap();
    let modified = fs::metadata(&style).unwrap().modified().unwrap();
    let mut bytes = fs::read(&style).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 0x3f;
    fs::write(&style, bytes).unwrap();
    // Its old time does not make it the old file.
    fs::File::options().append(true).open(&style).unwrap().set_modified(modified).unwrap();
    assert_eq!(told(&workshop, &[]), ["kept base", "ran lora", "ran out", "ran picture", "ran styled"]);
    assert_ne!(fs::read(workshop.path("out/00.png")).unwrap(), first);
    fs::copy(adapters.join("lora_kohya.safetensors"), &style).unwrap();
    assert_eq!(told(&workshop, &[]), ["kept base", "kept lora", "ran out", "kept picture", "kept styled"]);
    assert_eq!(fs::read(workshop.path("out/00.png")).unwrap(), first);
}

#[test]
fn a_grid_of_scales_encodes_the_prompt_once_and_reads_the_checkpoint_once() {
    let workshop = Workshop::new();
    let mut text = r#""base": MODEL,
        "red": LoadAdapter(path: "ADAPTERS/red_cartoon.lora.safetensors"),"#
        .replace("ADAPTERS", &root().join("models/adapters").display().to_string());
    for (row, once) in [0.25, 0.5, 0.75, 1.0].iter().enumerate() {
        for (column, twice) in [0.3, 0.6, 0.9, 1.2].iter().enumerate() {
            text += &format!(
                r#""once {row} {column}": ApplyLoRA(model: "base", lora: "red", scale: {once}),
                "both {row} {column}": ApplyLoRA(model: "once {row} {column}", lora: "red", scale: {twice}),
                "picture {row} {column}": DDIMSample(model: "both {row} {column}", prompt: "a bear", steps: 1, guidance: 1),"#
            );
        }
    }
    workshop.graph(&text);
    let events = events(&workshop.run(&["--ui", "json"]));
    let kept = |what: &str| {
        let is_it =
            |event: &&Value| event["type"] == "kept" && event["what"].as_str().unwrap().contains(what);
        events.iter().filter(is_it).count()
    };
    assert_eq!((kept("prompt"), kept("text encoders"), kept("vae")), (1, 1, 1), "{events:#?}");
    let read: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "file_digested")
        .map(|event| event["path"].to_string())
        .collect();
    let distinct: std::collections::BTreeSet<_> = read.iter().collect();
    assert_eq!(distinct.len(), read.len(), "{read:?}");
    assert!(read.iter().any(|path| path.contains("unet")), "{read:?}");
}

#[test]
fn a_run_leaves_a_folder_that_tells_it_again() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(PICTURE));
    let run = workshop.run(&["--ui", "json"]);
    let folder = fs::read_dir(workshop.path("runs")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_to_string(folder.join("events.ndjson")).unwrap(), run.stdout);
    let linked = image::open(folder.join("results/picture/00.png")).unwrap();
    assert_eq!(linked.to_rgb8(), image::open(workshop.path("out/00.png")).unwrap().to_rgb8());
    let replayed = flow(&workshop.path(""), &["replay", "last", "--ui", "json"]);
    assert_eq!(replayed.stdout, run.stdout);
    let shown = flow(&workshop.path(""), &["replay"]).stderr;
    assert!(shown.contains("+ picture  DDIMSample") && shown.contains("done in"), "{shown}");
    let listed = flow(&workshop.path(""), &["runs"]).stdout;
    assert!(listed.contains("graphs/test.ron  done   3 of 3"), "{listed}");
    // The graph in the folder is the graph that ran.
    let again = flow(&workshop.path(""), &["diff", "last", "graphs/test.ron"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), "the same meaning\n"), "{}", again.stderr);
}

#[test]
fn a_node_is_explained_by_everything_that_decides_it() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(PICTURE));
    workshop.run(&[]);
    let told = workshop.call("explain", &["picture", "--set", "picture.seed=5"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    for part in [
        "picture (DDIMSample): run, `seed` is 5, was 1",
        "content key",
        "prompt: \"a bear\"",
        "model, from base:",
        "f32 on cpu",
        "nothing is stored under its key",
    ] {
        assert!(told.stdout.contains(part), "{part} in {}", told.stdout);
    }
    let told = workshop.call("explain", &["picture"]).stdout;
    assert!(told.contains("stored: Images") && told.contains("00.png"), "{told}");
    let told = workshop.call("explain", &["pictur"]);
    assert!(told.code == Some(2) && told.stderr.contains("did you mean `picture`?"), "{}", told.stderr);
}

#[test]
fn graphs_are_compared_by_meaning() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(PICTURE));
    let other = nodes(PICTURE)
        .replace("\"base\"", "\"model\"")
        .replace("seed: 1", "seed: 1 /* the first */, guidance: 7.0")
        .replace("path: \"out\"", "path: \"elsewhere\"");
    fs::write(workshop.path("graphs/other.ron"), format!("// another\nGraph(nodes: {{ {other} }})")).unwrap();
    let told = flow(&workshop.path(""), &["diff", "graphs/test.ron", "graphs/other.ron"]);
    let expected = "= base is named model now\n~ out\n    `path` is \"elsewhere\", was \"out\"\n~ picture\n    `guidance` is 7.0, was 5.0\n";
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), expected), "{}", told.stderr);
}

#[test]
fn a_locked_run_refuses_whatever_is_not_as_it_was() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(PICTURE));
    let unlocked = workshop.call("run", &["--locked"]);
    assert!(
        unlocked.code == Some(2) && unlocked.stderr.contains("`flow lock graphs/test.ron` writes it"),
        "{}",
        unlocked.stderr
    );
    let locked = workshop.call("lock", &[]);
    assert_eq!(locked.code, Some(0), "{}", locked.stderr);
    workshop.run(&["--locked"]);
    let seed = workshop.call("run", &["--locked", "--set", "picture.seed=9"]);
    assert_eq!(seed.code, Some(2));
    assert!(seed.stderr.contains("the seed of `picture` is 9, and is locked to 1"), "{}", seed.stderr);
}

#[test]
fn what_does_not_depend_on_a_failure_is_done_with_keep_going() {
    let workshop = Workshop::new();
    fs::create_dir_all(workshop.path("photos")).unwrap();
    // Its first bytes are a picture's, and all that is looked at before the run.
    let picture = fs::read(root().join("models/mini-sdxl/lora.png")).unwrap();
    fs::write(workshop.path("photos/broken.png"), &picture[..picture.len() / 2]).unwrap();
    workshop.graph(&nodes(&format!("{PICTURE}, \"photos\": LoadImages(path: \"photos\")")));
    let call = workshop.call("run", &["--keep-going"]);
    assert_eq!(call.code, Some(4), "{}", call.stderr);
    assert!(call.stderr.contains("done in part") && workshop.path("out/00.png").exists(), "{}", call.stderr);
}

#[test]
fn an_unknown_target_is_told_with_the_name_that_may_be_meant() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(PICTURE));
    let call = workshop.call("run", &["--target", "pictur", "--force", "nothing"]);
    assert_eq!(call.code, Some(2));
    assert!(
        call.stderr.contains("`--target` names `pictur`") && call.stderr.contains("did you mean `picture`?"),
        "{}",
        call.stderr
    );
    assert!(call.stderr.contains("`--force` names `nothing`"), "{}", call.stderr);
}

#[test]
fn the_store_is_listed_verified_and_swept() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(PICTURE));
    workshop.run(&[]);
    let store = |arguments: &[&str]| flow(&workshop.path(""), &[&["store"], arguments].concat());
    assert!(store(&["list"]).stdout.contains("DDIMSample"), "{}", store(&["list"]).stdout);
    assert_eq!(store(&["verify"]).stdout, "3 results whole, 0 damaged\n");
    let picture = fs::read_dir(workshop.path(".flow/store/files")).unwrap().next().unwrap().unwrap().path();
    let picture = fs::read_dir(picture).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&picture).unwrap();
    bytes[20] ^= 1;
    fs::write(&picture, bytes).unwrap();
    let verified = store(&["verify"]);
    assert!(
        verified.code == Some(1) && verified.stdout.contains("2 results whole, 1 damaged"),
        "{}",
        verified.stdout
    );
    assert_eq!(told(&workshop, &[]), ["kept base", "ran out", "ran picture"]);
    assert!(store(&["gc", "--max-size", "0", "--dry-run"]).stdout.starts_with("would take out"));
    assert!(store(&["gc", "--max-size", "0"]).stdout.contains("took out 1 result"), "sizes");
    assert_eq!(told(&workshop, &[]), ["kept base", "ran out", "ran picture"]);
}

/// A shell script with rights to mount, in the workshop; none where the system gives nobody such rights.
pub(crate) fn with_mounts(workshop: &Workshop, script: &str) -> Option<Call> {
    let can = Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    if !can {
        println!("SKIPPED: nobody may mount here (unshare -rm)");
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(["-rm", "sh", "-c", script])
        .current_dir(workshop.path(""))
        .env("FLOW", env!("CARGO_BIN_EXE_flow"));
    Some(command.output().expect("unshare starts").into())
}

#[test]
fn a_full_disk_fails_one_node_and_harms_nothing() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(
        r#""base": TINY,
        "small": DDIMSample(model: "base", prompt: "a bear", steps: 1, width: 16, height: 16),
        "large": DDIMSample(model: "base", prompt: "a bear", steps: 1, width: 256, height: 256),
        "again": DDIMSample(model: "base", prompt: "a fox", steps: 1, width: 16, height: 16)"#,
    ));
    let script = "mkdir .flow && mount -t tmpfs -o size=160k tmpfs .flow && \
        $FLOW run graphs/test.ron -k --jobs 1; echo ended $?; $FLOW store verify; \
        mount -o remount,size=9m .flow; $FLOW run graphs/test.ron";
    let Some(call) = with_mounts(&workshop, script) else { return };
    assert!(call.stderr.contains("`large` failed: its result cannot be stored"), "{}", call.stderr);
    assert!(
        call.stdout.contains("ended 4") && call.stdout.contains("3 results whole, 0 damaged"),
        "{}",
        call.stdout
    );
    assert_eq!(call.code, Some(0), "{}", call.stderr);
}

#[test]
fn a_read_only_store_still_serves() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(PICTURE));
    workshop.run(&[]);
    let script = "mount --bind .flow .flow && mount -o remount,ro,bind .flow && \
        $FLOW run graphs/test.ron && $FLOW run graphs/test.ron --set picture.seed=2";
    let Some(call) = with_mounts(&workshop, script) else { return };
    assert_eq!(call.code, Some(0), "{}", call.stderr);
    assert!(call.stderr.contains("= picture  stored"), "{}", call.stderr);
    assert!(call.stderr.contains("results cannot be stored"), "{}", call.stderr);
}

/// Runs one of a workshop's graphs while it is edited; `then` gets what waits for an event of a type.
#[cfg(unix)]
pub(crate) fn watched(workshop: &Workshop, graph: &str, then: impl FnOnce(&mut dyn FnMut(&str) -> Value)) {
    use std::io::{BufRead as _, BufReader};
    let mut command = flow_in(&workshop.path(""), &["run", graph, "--watch", "--ui", "json"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    then(&mut |kind: &str| {
        let events = lines.by_ref().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        events.into_iter().find(|event| event["type"] == kind).expect(kind)
    });
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
#[cfg(unix)]
fn pictures_that_come_into_a_watched_folder_and_files_that_come_back_are_seen() {
    let workshop = Workshop::new();
    fs::create_dir_all(workshop.path("photos")).unwrap();
    let picture = |name: &str, grey: u8| {
        image::GrayImage::from_pixel(8, 8, image::Luma([grey])).save(workshop.path(name)).unwrap();
    };
    picture("photos/a.png", 1);
    workshop.graph(r#""photos": LoadImages(path: "photos")"#);
    watched(&workshop, "graphs/test.ron", |until| {
        until("run_finished");
        picture("photos/b.png", 2);
        assert_eq!(until("graph_reloaded")["changed"], serde_json::json!(["photos"]));
        until("run_finished");
        fs::remove_dir_all(workshop.path("photos")).unwrap();
        until("graph_rejected");
        fs::create_dir_all(workshop.path("photos")).unwrap();
        picture("photos/c.png", 3);
        assert_eq!(until("graph_reloaded")["changed"], serde_json::json!(["photos"]));
        until("run_finished");
    });
}

#[test]
#[cfg(unix)]
fn an_edited_graph_runs_again_until_ctrl_c() {
    let workshop = Workshop::new();
    workshop.graph(&nodes(PICTURE));
    watched(&workshop, "graphs/test.ron", |until| {
        until("run_finished");
        let graph = workshop.path("graphs/test.ron");
        let good = fs::read_to_string(&graph).unwrap();
        fs::write(&graph, good.replace("steps: 2", "steps: ")).unwrap();
        assert_eq!(until("graph_rejected")["diagnostics"][0]["line"], 3);
        fs::write(&graph, good.replace("seed: 1", "seed: 2")).unwrap();
        assert_eq!(until("graph_reloaded")["changed"], serde_json::json!(["out", "picture"]));
        assert_eq!(until("run_finished")["status"], "done");
    });
}

//! The verbs, their exit codes and what they print.

use super::{Workshop, flow, flow_in, root};

#[test]
fn the_quickstart_graph_has_no_mistakes() {
    let call = flow(root(), &["check", "graphs/quickstart.ron"]);
    assert_eq!((call.code, call.stderr.as_str()), (Some(0), ""));
    assert!(call.stdout.starts_with("graphs/quickstart.ron: "));
}

#[test]
fn a_graph_that_is_not_there_is_told_with_those_that_are() {
    let call = flow(root(), &["run", "graphs/quickstat.ron"]);
    assert_eq!(call.code, Some(2));
    assert!(call.stderr.contains("graphs/quickstart.ron"), "{}", call.stderr);
}

#[test]
fn usage_is_refused_with_2_and_an_example() {
    for arguments in
        [&["run"][..], &["run", "g.ron", "--jobs", "0"], &["run", "g.ron", "--set", "x"], &["fly"]]
    {
        assert_eq!(flow(root(), arguments).code, Some(2), "{arguments:?}");
    }
    let call = flow(root(), &["run", "graphs/quickstart.ron", "--set", "seed"]);
    assert!(call.stderr.contains("picture.seed=7"), "{}", call.stderr);
    let call = flow(root(), &["run", "graphs/quickstart.ron", "--set", "seed=1"]);
    assert!(call.stderr.contains("node.seed="), "{}", call.stderr);
}

#[test]
fn a_device_that_is_not_there_is_refused_with_what_to_do() {
    let call = flow(root(), &["check", "graphs/quickstart.ron", "--device", "metal"]);
    assert_eq!(call.code, Some(2));
    assert!(call.stderr.contains("--device cpu"), "{}", call.stderr);
}

#[test]
fn every_kind_has_a_manual() {
    let list = flow(root(), &["nodes"]).stdout;
    let kinds: Vec<_> =
        list.lines().filter(|line| line.contains(" -> ")).filter_map(|line| line.split(' ').next()).collect();
    assert!(kinds.contains(&"DDIMSample"));
    for kind in kinds {
        let manual = flow(root(), &["nodes", kind]).stdout;
        assert!(manual.lines().count() > 3, "{manual}");
    }
    let train = flow(root(), &["nodes", "Train"]).stdout;
    for said in ["          gamma: number", "Bottom: ", "ramp: whole number, default 20", "starts at `B = 0`"]
    {
        assert!(train.contains(said), "{said}: {train}");
    }
    let call = flow(root(), &["nodes", "DDIMSampel"]);
    assert!(call.code == Some(2) && call.stderr.contains("did you mean `DDIMSample`?"), "{}", call.stderr);
}

#[test]
fn a_graph_is_drawn_for_graphviz_and_for_mermaid() {
    let workshop = Workshop::new();
    workshop.graph(r#""base \"1\"": MODEL, "p": DDIMSample(model: "base \"1\"", prompt: "x")"#);
    let dot = workshop.call("dag", &["--format", "dot"]).stdout;
    assert_eq!(
        dot,
        "digraph flow {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n  \
         n0 [label=\"base \\\"1\\\"\\nLoadSDXL\"];\n  n1 [label=\"p\\nDDIMSample\"];\n  n0 -> n1 [label=\"model\"];\n}\n"
    );
    let mermaid = workshop.call("dag", &["--format", "mermaid"]).stdout;
    assert_eq!(
        mermaid,
        "flowchart LR\n  n0[\"base #quot;1#quot;<br/>LoadSDXL\"]\n  n1[\"p<br/>DDIMSample\"]\n  n0 -- \"model\" --> n1\n"
    );
}

#[test]
fn completions_name_the_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let call = flow(root(), &["completions", shell]);
        assert!(call.code == Some(0) && call.stdout.contains("dag"), "{shell}");
    }
}

#[test]
fn an_override_is_read_as_ron_and_told_at_its_own_place() {
    let workshop = Workshop::new();
    workshop.graph(r#""base": MODEL, "p": DDIMSample(model: "base", prompt: "x")"#);
    assert_eq!(workshop.call("check", &["--set", "p.width=64", "--set", "p.prompt=\"a=b\""]).code, Some(0));
    let call = workshop.call("check", &["--set", "p.width=65"]);
    assert_eq!(call.code, Some(2));
    assert!(call.stderr.contains("--set:1:9") && call.stderr.contains("64 or 68"), "{}", call.stderr);
}

#[test]
fn events_cannot_take_the_place_of_the_graph() {
    let workshop = Workshop::new();
    workshop.graph(r#""base": MODEL"#);
    let before = std::fs::read(workshop.path("graphs/test.ron")).unwrap();
    let call = workshop.call("run", &["--events", "graphs/../graphs/test.ron"]);
    assert!(call.code == Some(2) && call.stderr.contains("is the graph"), "{}", call.stderr);
    assert_eq!(std::fs::read(workshop.path("graphs/test.ron")).unwrap(), before);
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_graph() {
    let workshop = Workshop::new();
    workshop.graph(r#""base": MODEL"#);
    let text = std::fs::read_to_string(workshop.path("graphs/test.ron")).unwrap();
    std::fs::write(workshop.path("graphs/test.ron"), format!("\u{feff}{text}")).unwrap();
    assert_eq!(workshop.call("check", &[]).code, Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_below_the_output_is_told_and_never_a_panic() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let workshop = Workshop::new();
    workshop.graph(r#""base": MODEL"#);
    for arguments in
        [&["nodes"][..], &["nodes", "Grid"], &["completions", "bash"], &["check", "graphs/test.ron"]]
    {
        let output = flow_in(&workshop.path(""), arguments).stdout(full()).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && told.contains("cannot write to standard output"),
            "{told}"
        );
    }
    let lost = workshop.call("run", &["--events", "/dev/full"]);
    assert!(
        lost.code == Some(1) && lost.stderr.contains("cannot write events to /dev/full"),
        "{}",
        lost.stderr
    );
    let silent = flow_in(&workshop.path(""), &["run", "graphs/test.ron", "--events", "e.ndjson"])
        .stderr(full())
        .output();
    assert_eq!(silent.unwrap().status.code(), Some(0));
    let lines = std::fs::read_to_string(workshop.path("e.ndjson")).unwrap();
    assert!(lines.lines().last().unwrap().contains("run_finished"));
}

#[test]
#[cfg(unix)]
fn ctrl_c_stops_at_the_next_step_with_130() {
    use std::io::{BufRead, BufReader};
    let workshop = Workshop::new();
    workshop.graph(r#""base": MODEL, "p": DDIMSample(model: "base", prompt: "x", steps: 1000, count: 64)"#);
    let mut command = flow_in(&workshop.path(""), &["run", "graphs/test.ron", "--ui", "json"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("\"type\":\"progress\"")));
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let last = lines.last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(last.contains("run_finished") && last.contains("cancelled"), "{last}");
}

//! Scripts over the small nodes of the engine's own tests.

use proptest::prelude::*;

use super::*;
use crate::kit::{registry, told};
use crate::{Graph, Source};

fn read<'r>(text: &str, set: &[&str], registry: &'r Registry) -> Source<'r> {
    let folders = ScriptFolders { script: PathBuf::from("nowhere"), project: PathBuf::from("nowhere") };
    let overrides: Vec<Override> = set.iter().map(|set| set.parse().expect(set)).collect();
    read_script(Document::new("test.rhai", text), &folders, &overrides, registry)
}

/// The nodes of a script's graph, as a RON file has them.
fn made(text: &str, set: &[&str]) -> Vec<String> {
    let registry = registry();
    let folders = ScriptFolders { script: PathBuf::from("nowhere"), project: PathBuf::from("nowhere") };
    let overrides: Vec<Override> = set.iter().map(|set| set.parse().expect(set)).collect();
    let ron = expand_script(&Document::new("test.rhai", text), &folders, &overrides, &registry);
    let ron = ron.unwrap_or_else(|problems| panic!("{problems:?}"));
    let lines = ron.lines().filter_map(|line| line.strip_prefix("    "));
    lines.map(|line| line.trim_end_matches(',').to_owned()).collect()
}

/// Every mistake of a script and of its graph, with all that led to it.
fn mistakes(text: &str, set: &[&str]) -> Vec<String> {
    let registry = registry();
    let source = read(text, set, &registry);
    let problems = Graph::new(source, &registry).err().unwrap_or_default();
    let causes =
        |problem: &Diagnostic| problem.causes.iter().map(|cause| format!(" < {cause}")).collect::<String>();
    let at = |problem: &Diagnostic| problem.place.as_ref().map(ToString::to_string).unwrap_or_default();
    problems.iter().map(|problem| format!("{} {}{}", at(problem), told(problem), causes(problem))).collect()
}

fn mistake(text: &str) -> String {
    let mistakes = mistakes(text, &[]);
    assert_eq!(mistakes.len(), 1, "{text}: {mistakes:#?}");
    mistakes.into_iter().next().unwrap_or_default()
}

#[test]
fn every_kind_is_a_function_and_a_method_of_what_it_reads_first() {
    let script = r#"
        let one = Give(#{ value: 1 });
        let two = Give(#{ value: 2.5, ending: "Well" }).named("two");
        let sum = [one, two].Add(#{ how: Weighted(#{ factor: 2 }) });
        sum.Say();
        Add(#{ numbers: [sum], more: two, fail: false }).named("all");
        Give(#{ value: 3, ending: Divided(#{ by: 4 }) });"#;
    let expected = [
        r#""Give_1": Give(value: 1)"#,
        r#""two": Give(value: 2.5, ending: Well)"#,
        r#""Add_1": Add(numbers: ["Give_1", "two"], how: Weighted(factor: 2))"#,
        r#""Say_1": Say(number: "Add_1")"#,
        r#""all": Add(numbers: ["Add_1"], more: "two", fail: false)"#,
        r#""Give_2": Give(value: 3, ending: Divided(by: 4))"#,
    ];
    assert_eq!(made(script, &[]), expected);
    assert_eq!(mistakes(script, &[]), [""; 0]);
}

#[test]
fn loops_functions_and_parameters_make_many_nodes() {
    let script = r#"
        fn pair(scale, name) { Give(#{ value: scale }).named(name).Say() }
        for run in 0..param("runs", 2) { pair(run, `${param("name", "n")}/${run}`); }"#;
    assert_eq!(made(script, &[]).len(), 4);
    let told = made(script, &["runs=3", "name=\"x\"", "x/1.value=9", "x/1.ending=Later"]);
    assert_eq!(told[2], r#""x/1": Give(value: 9, ending: Later)"#);
    assert_eq!(told.len(), 6);
}

#[test]
fn numbers_text_and_nothing_are_written_as_the_field_takes_them() {
    let script = r#"
        Give(#{ value: 1e-7, file: () });
        Number(#{ value: -0.1, file: "it's \"quoted\"\n" });
        let fields = #{ value: 7 };
        Give(fields);"#;
    let expected = [
        "\"Give_1\": Give(value: 1e-7, file: None)",
        "\"Number_1\": Number(value: -0.1, file: \"it\\'s \\\"quoted\\\"\\n\")",
        "\"Give_2\": Give(value: 7)",
    ];
    assert_eq!(made(script, &[]), expected);
}

#[test]
fn the_same_script_always_makes_the_same_graph() {
    let script = "let all = #{ b: 2, a: 1, c: 3 }; for name in all.keys() { Give(#{ value: all[name] }).named(name); }";
    let first = made(script, &[]);
    assert_eq!(first[0], "\"a\": Give(value: 1)");
    assert!((0..5).all(|_| made(script, &[]) == first));
}

#[test]
fn mistakes_are_told_at_their_place_in_the_script() {
    for (script, expected) in [
        ("Giv(#{ value: 1 });", "Giv"),
        ("let a = Give(#{ value: 1, valeu: 1 });", "valeu"),
        ("let a = Give(#{ value: 1 }); a.Say().Say();", "Say"),
        ("let a = Give(#{ value: \"x\" });", "\"x\""),
        ("Give(#{ value: 101 });", "101"),
        ("let a = gold;", "gold"),
        ("param(\"runs\");", "param"),
        ("Give(1);", "Give"),
        ("let x = 1 +;", ";"),
        ("let a = Give(#{ value: 1 }); a.named(\"n\"); Give(#{ value: 2 }).named(\"n\");", "named"),
        ("let a = Say(#{ number: \"a\" });", "\"a\""),
        ("eval(\"1\");", "eval"),
    ] {
        let registry = registry();
        let problems = Graph::new(read(script, &[], &registry), &registry).err().unwrap_or_default();
        let place = problems.first().and_then(|problem| problem.place.as_ref());
        assert_eq!(place.map(crate::Place::text), Some(expected), "{script}: {problems:?}");
    }
}

#[test]
fn mistakes_say_what_to_do_and_which_functions_led_to_them() {
    each_says([
        ("Giv(#{ value: 1 });", "there is no kind of node or function named `Giv` (did you mean `Give`?)"),
        ("Give(#{ valeu: 1, value: 1 });", "`Give` has no field `valeu` (did you mean `value`?)"),
        ("loop {}", "the script takes more than 1 million steps"),
        ("fn f(x) { f(x + 1) } f(0);", "more than 32 functions call each other"),
        ("let a = []; loop { a.push(1); }", "an array grows too large"),
        ("import \"../../etc/x\" as x;", "the module `../../etc/x` lies outside the project"),
        ("throw \"no\";", "the script says: no"),
        ("sleep(1);", "`sleep` is not there for scripts"),
    ]);
    let script = "fn make(v) {\n    Give(#{ value: v })\n}\nfn both() { make(1); make(200); }\nboth();";
    let told = mistake(script);
    assert!(told.starts_with("test.rhai:2:20 v: `value` must be from 0 to 100, and is 200"), "{told}");
    assert!(
        told.ends_with("< in `both`, called at test.rhai:5:1 < in `make`, called at test.rhai:4:22"),
        "{told}"
    );
}

fn each_says<const N: usize>(cases: [(&str, &str); N]) {
    for (script, expected) in cases {
        let told = mistake(script);
        assert!(told.contains(expected), "{script}\n{told}\n{expected}");
    }
}

#[test]
fn a_parameter_is_of_the_type_of_its_default_and_one_that_nobody_asks_for_is_refused() {
    let script = "Give(#{ value: param(\"value\", 1.0) });";
    assert_eq!(made(script, &["value=3"]), ["\"Give_1\": Give(value: 3.0)"]);
    assert_eq!(mistakes(script, &["value=\"x\""]), ["--set:1:7 \"x\": the parameter `value` takes a number"]);
    let unknown = "--set:1:1 valeu: the script asks for no parameter `valeu` (did you mean `value`?)";
    assert_eq!(mistakes(script, &["valeu=2"]), [unknown]);
    assert_eq!(mistakes(script, &["value=1/40"]), ["--set:1:7 1/40: the parameter `value` takes a number"]);
    assert!(mistakes(script, &["x.value=2"])[0].contains("there is no node `x` to set"));
}

#[test]
fn text_that_a_script_asks_for_needs_no_quotes() {
    let script = "Give(#{ value: 5 }).named(param(\"name\", \"a\"));";
    let named = |set: &str| made(script, &[set]);
    assert_eq!(named("name=quick"), ["\"quick\": Give(value: 5)"]);
    for quoted in ["name=\"1/40\"", "name=r\"1/40\"", "name=1/40"] {
        assert_eq!(named(quoted), ["\"1/40\": Give(value: 5)"], "{quoted}");
    }
    assert!(!mistakes(script, &["name=\"quick"]).is_empty(), "a quote that is not closed");
}

#[test]
fn all_mistakes_of_a_graph_are_told_at_once() {
    let script =
        "let a = Give(#{ value: 500 });\nlet s = a.Say();\nAdd(#{ numbers: [s], hwo: 1 });\nGive(#{});";
    let told = mistakes(script, &[]);
    assert_eq!(told.len(), 3, "{told:#?}");
}

#[test]
fn modules_are_read_from_the_project_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    std::fs::create_dir_all(project.join("scripts/lib")).unwrap();
    std::fs::write(folder.path().join("outside.rhai"), "").unwrap();
    let write = |name: &str, text: &str| std::fs::write(project.join("scripts").join(name), text).unwrap();
    write("lib/give.rhai", "import \"other\" as other;\nfn give(v) { other::make(v) }");
    write("lib/other.rhai", "fn make(v) {\n  Give(#{ value: v })\n}");
    write("ring.rhai", "import \"ring\" as ring;");
    let registry = registry();
    let folders = ScriptFolders::of(&project.join("scripts/main.rhai"), &project);
    let read = |text: &str| read_script(Document::new("main.rhai", text), &folders, &[], &registry);
    let source = read("import \"lib/give\" as lib;\nlib::give(5); lib::give(700);");
    assert_eq!(source.files.len(), 2, "{:?}", source.files);
    let problems = Graph::new(source, &registry).err().unwrap();
    let place = problems[0].place.as_ref().unwrap();
    assert!(place.document.name.ends_with("lib/other.rhai") && place.text() == "v", "{place}");
    assert!(problems[0].causes.iter().any(|cause| cause.contains("in `give`")), "{problems:?}");
    for (text, expected) in [
        ("import \"../../outside\" as o;", "lies outside the project"),
        ("import \"ring\" as r;", "imports itself"),
        ("import \"none\" as n;", "there is no module `none`"),
    ] {
        let source = read(text);
        assert!(source.diagnostics[0].message.contains(expected), "{:?}", source.diagnostics);
    }
    write("lib/other.rhai", "fn make(v) { Gvie(#{ value: v }) }");
    let source = read("import \"lib/give\" as lib;\nlib::give(5);");
    let problem = &source.diagnostics[0];
    assert!(problem.place.as_ref().unwrap().document.name.ends_with("lib/other.rhai"), "{problem:?}");
    assert_eq!(problem.causes.len(), 2, "{problem:?}");
}

#[test]
fn a_thousand_nodes_are_made_and_none_is_lost() {
    let script = "for i in 0..1000 { Give(#{ value: i % 100 }).Say().named(`say ${i}`); }";
    assert_eq!(made(script, &[]).len(), 2000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z0-9(){}#:;,.\"` =+\\n-]{0,60}") {
        let registry = registry();
        let _ = Graph::new(read(&text, &[], &registry), &registry);
    }

    #[test]
    fn a_script_and_its_expansion_are_one_graph(
        values in prop::collection::vec((0u8..=100, any::<bool>(), "[a-z\"\\\\é ]{0,6}"), 1..8),
    ) {
        let line = |(at, (value, scaled, file)): (usize, &(u8, bool, String))| {
            let file = file.replace('\\', "\\\\").replace('"', "\\\"");
            let give = format!("let g{at} = Number(#{{ value: {value}, file: \"{file}\" }});\n");
            let add = format!("Add(#{{ how: Weighted(#{{ factor: {value}.5 }}), numbers: [g{at}] }});\n");
            if *scaled { give + add.as_str() } else { give }
        };
        let script: String = values.iter().enumerate().map(line).collect();
        let registry = registry();
        let shape = |source: Source<'_>| {
            let graph = Graph::new(source, &registry).unwrap_or_else(|problems| panic!("{problems:?}"));
            let nodes = graph.nodes().map(|node| (node.name().to_owned(), node.parameters.clone(), node.inputs.clone()));
            nodes.collect::<Vec<_>>()
        };
        let of_script = shape(read(&script, &[], &registry));
        let folders = ScriptFolders { script: PathBuf::new(), project: PathBuf::new() };
        let ron = expand_script(&Document::new("test.rhai", script), &folders, &[], &registry).unwrap();
        prop_assert_eq!(of_script, shape(read_ron(Document::new("test.ron", ron), &[], &registry)));
    }
}

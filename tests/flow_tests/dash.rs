//! The dashboard on a real terminal, as somebody uses it.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::tmux::{BEAT, PATIENCE, PROMPT, Tmux};
use super::{Workshop, flow, root};

/// A shell in a workshop, with the dashboard in it.
struct Desk {
    workshop: Workshop,
    tmux: Tmux,
    /// How the terminal was before.
    modes: String,
}

impl Desk {
    /// A shell that has run nothing yet; none where there is no tmux.
    fn new() -> Option<Self> {
        let workshop = Workshop::new();
        link(&root().join("models"), &workshop.path("models"));
        let quickstart = std::fs::read_to_string(root().join("graphs/quickstart.ron")).unwrap();
        let quicker = quickstart.replace("count: 4", "count: 1, steps: 8");
        assert_ne!(quickstart, quicker, "there is something to make smaller");
        std::fs::write(workshop.path("graphs/quickstart.ron"), quicker).unwrap();
        let tmux = Tmux::open(&workshop.path("."), 120, 40)?;
        let modes = tmux.ask("stty -g");
        Some(Self { workshop, tmux, modes })
    }

    /// With the dashboard on the first graph of the README, with fewer pictures in fewer steps.
    fn on_quickstart() -> Option<Self> {
        let desk = Self::new()?;
        desk.flow("dash graphs/quickstart.ron");
        desk.tmux.wait_for("contact sheet");
        Some(desk)
    }

    /// With the dashboard on these nodes.
    fn on(nodes: &str) -> Option<Self> {
        let desk = Self::new()?;
        desk.workshop.graph(nodes);
        desk.flow("dash graphs/test.ron");
        Some(desk)
    }

    fn flow(&self, arguments: &str) {
        self.tmux.line(&format!("{} {arguments}", env!("CARGO_BIN_EXE_flow")));
    }

    /// Changes the text of a graph, as an editor would.
    fn edit(&self, graph: &str, from: &str, to: &str) {
        let path = self.workshop.path(graph);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    /// The number of the dashboard's process.
    fn process(&self) -> String {
        let found = Command::new("pgrep").args(["-P", self.tmux.shell().trim()]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().trim().to_owned()
    }

    /// Waits until all has run.
    fn is_done(&self) {
        self.tmux.press(&["5", "G"]);
        let is_told = |screen: &str| screen.contains("follows the end") && screen.contains("  done in ");
        self.tmux.wait_until("the end in the log", is_told);
        self.tmux.press(&["1"]);
    }

    /// Holds that the terminal is as it was: its screen, its modes, its cursor.
    fn is_restored(&self) {
        self.tmux.wait_for_shell();
        assert_eq!(self.tmux.ask("stty -g"), self.modes);
        assert_eq!(self.tmux.flags(), "0 1 0", "alternate screen, cursor, mouse");
    }
}

fn link(from: &Path, to: &Path) {
    #[cfg(unix)]
    std::os::unix::fs::symlink(from, to).unwrap();
    #[cfg(not(unix))]
    panic!("there is no tmux to link {} to {} for", from.display(), to.display());
}

/// Waits until a process is no more.
fn has_ended(process: &str) {
    assert!(process.parse::<u32>().is_ok(), "`{process}` is one process");
    let end = Instant::now() + PATIENCE;
    let goes_on = || {
        let state = Command::new("ps").args(["-o", "stat=", "-p", process]).output().unwrap().stdout;
        // Nobody may have asked yet how it ended.
        !matches!(state.first(), None | Some(b'Z'))
    };
    while goes_on() {
        assert!(Instant::now() < end, "process {process} goes on");
        std::thread::sleep(BEAT);
    }
}

/// Two chains: one that takes long, and one that is done soon.
const LONG: &str = r#"
    "base": MODEL,
    "long": DDIMSample(model: "base", prompt: "a", steps: 1000, count: 4),
    "short": DDIMSample(model: "base", prompt: "b", steps: 2),
    "long out": SaveImages(images: "long", path: "out/long"),
    "short out": SaveImages(images: "short", path: "out/short"),
"#;

#[test]
fn the_quickstart_runs_on_a_screen_with_help_views_and_a_way_out() {
    let Some(desk) = Desk::on_quickstart() else { return };
    let tmux = &desk.tmux;
    tmux.press(&["?"]);
    tmux.wait_for("to the shell; `fg` comes back");
    tmux.press(&["Escape"]);
    tmux.wait_until("no help", |screen| !screen.contains("`fg` comes back"));
    for (key, says) in [
        ("2", "as it is written"),
        ("3", "nothing is trained"),
        ("5", "starts (LoadSDXL)"),
        ("7", "kept in memory"),
        ("6", "nothing went wrong"),
        ("4", "seed 0"),
        ("1", "contact sheet"),
    ] {
        tmux.press(&[key]);
        tmux.wait_for(says);
    }
    desk.is_done();
    tmux.press(&["q"]);
    let told = tmux.wait_for_shell();
    assert!(told.contains("done in"), "the end is told below");
    assert!(!told.contains("stopping") && !told.contains("DDIMSample"), "and nothing but the end:\n{told}");
    desk.is_restored();
    let sheet = desk.workshop.path("out/quickstart/sheet.png");
    assert!(sheet.is_file(), "{}", sheet.display());
}

#[test]
fn keys_move_from_node_to_node() {
    let Some(desk) = Desk::on_quickstart() else { return };
    let selected = |node: &str| {
        desk.tmux.press(&["2"]);
        desk.tmux.wait_for(node);
        desk.tmux.press(&["1"]);
    };
    desk.tmux.press(&["g"]);
    selected("LoadSDXL(path");
    desk.tmux.press(&["G"]);
    selected("SaveImages(images");
}

#[test]
fn a_cancelled_node_is_skipped_with_what_reads_it_and_may_run_again() {
    let Some(desk) = Desk::on(LONG) else { return };
    let tmux = &desk.tmux;
    tmux.wait_for("long out");
    tmux.press(&["/"]);
    tmux.press(&["l", "o", "n", "g", "Enter"]);
    tmux.press(&["x"]);
    let is_skipped = |screen: &str| screen.contains("– long ") && screen.contains("– long out");
    tmux.wait_until("it is skipped with what reads it", is_skipped);
    tmux.wait_for("✓ short out");
    assert!(!desk.workshop.path("out/long").exists());
    tmux.press(&["R"]);
    tmux.wait_until("it runs again", |screen| !screen.contains("– long") && screen.contains("long out"));
}

#[test]
fn a_saved_edit_takes_effect_and_a_mistaken_one_is_shown_while_the_run_goes_on() {
    let Some(desk) = Desk::on(LONG) else { return };
    let tmux = &desk.tmux;
    tmux.wait_for("long out");
    desk.edit("graphs/test.ron", "steps: 2", "steps: true");
    tmux.wait_for("the run goes on without it");
    tmux.press(&["6"]);
    tmux.wait_for("steps: true");
    desk.edit("graphs/test.ron", "steps: true", "steps: 3");
    tmux.wait_until("no mistakes any more", |screen| !screen.contains("steps: true"));
    tmux.press(&["d"]);
    let says_what = |screen: &str| screen.contains("the edit that took effect") && screen.contains("~ short");
    tmux.wait_until("what the edit changed", says_what);
    assert!(!desk.workshop.path("out/long").exists(), "the other chain goes on");
}

#[test]
fn a_window_may_have_any_size() {
    let Some(desk) = Desk::on_quickstart() else { return };
    desk.tmux.resize(60, 20);
    desk.tmux
        .wait_until("a smaller screen", |screen| screen.lines().count() == 20 && screen.contains("graph"));
    desk.tmux.resize(30, 8);
    desk.tmux.wait_for("too small");
    desk.tmux.resize(160, 50);
    desk.tmux.wait_for("contact sheet");
}

#[test]
fn a_dashboard_steps_back_and_comes_again() {
    let Some(desk) = Desk::on_quickstart() else { return };
    for _ in 0..2 {
        desk.tmux.press(&["C-z"]);
        desk.is_restored();
        assert!(desk.tmux.ask("jobs").contains("Stopped"));
        desk.tmux.line("fg");
        desk.tmux.wait_until("the dashboard", |screen| {
            screen.contains("contact sheet") && !screen.contains(PROMPT)
        });
    }
}

#[test]
fn a_run_goes_on_behind_the_shell() {
    let Some(desk) = Desk::on_quickstart() else { return };
    desk.tmux.press(&["C-z"]);
    desk.is_restored();
    desk.tmux.line("bg");
    let sheet = desk.workshop.path("out/quickstart/sheet.png");
    desk.tmux.wait_until("the results", |_| sheet.is_file());
    desk.is_restored();
    desk.tmux.line("fg");
    desk.tmux
        .wait_until("the dashboard", |screen| screen.contains("contact sheet") && !screen.contains(PROMPT));
}

#[test]
fn the_plain_stream_is_one_key_away() {
    let Some(desk) = Desk::on_quickstart() else { return };
    desk.tmux.press(&["h"]);
    desk.tmux.wait_for("any key comes back");
    assert!(!desk.tmux.is_on_alternate_screen());
    desk.tmux.wait_for("a crab on a beach");
    desk.tmux.press(&["Space"]);
    desk.tmux.wait_until("the dashboard", |_| desk.tmux.is_on_alternate_screen());
}

#[test]
fn whoever_ends_it_gets_the_terminal_back() {
    let Some(desk) = Desk::on(LONG) else { return };
    for signal in ["TERM", "INT", "HUP"] {
        desk.tmux.wait_for("long out");
        let kill =
            Command::new("pkill").args([&format!("-{signal}"), "-P", desk.tmux.shell().trim()]).status();
        assert!(kill.unwrap().success());
        desk.is_restored();
        desk.flow("dash graphs/test.ron");
    }
    desk.tmux.wait_for("long out");
    desk.tmux.press(&["C-c"]);
    desk.tmux.wait_for("saved a state or is done");
    desk.tmux.press(&["C-c"]);
    desk.tmux.wait_for_shell();
    assert_eq!(desk.tmux.ask("echo code $?"), "code 130");
    desk.is_restored();
}

#[test]
fn a_dashboard_ends_with_its_window() {
    let Some(desk) = Desk::on(LONG) else { return };
    desk.tmux.wait_for("long out");
    let process = desk.process();
    desk.tmux.close();
    has_ended(&process);
    assert!(!desk.workshop.path("out/long").exists());
}

#[test]
fn a_run_that_was_left_behind_the_shell_goes_on_to_its_end_without_the_window() {
    let Some(desk) = Desk::on_quickstart() else { return };
    let process = desk.process();
    desk.tmux.press(&["C-z"]);
    desk.is_restored();
    desk.tmux.ask("disown -h %1; bg");
    desk.tmux.close();
    has_ended(&process);
    assert!(desk.workshop.path("out/quickstart/sheet.png").is_file());
}

#[test]
fn an_editor_has_the_terminal_to_itself() {
    let Some(desk) = Desk::new() else { return };
    desk.tmux.line("export EDITOR='sh -c \"echo it is edited; read line\" sh'; clear");
    desk.flow("dash graphs/quickstart.ron");
    desk.tmux.wait_for("contact sheet");
    desk.tmux.press(&["e"]);
    desk.tmux.wait_for("it is edited");
    desk.tmux.press(&["Enter"]);
    desk.tmux.wait_until("the dashboard", |_| desk.tmux.is_on_alternate_screen());
}

#[test]
fn a_run_is_looked_at_from_elsewhere_and_shown_again() {
    let Some(desk) = Desk::on_quickstart() else { return };
    let folder = desk.workshop.path(".");
    let Some(visitor) = Tmux::open(&folder, 100, 30) else { return };
    visitor.line(&format!("{} dash --attach last", env!("CARGO_BIN_EXE_flow")));
    visitor.wait_for("contact sheet");
    visitor.press(&["q"]);
    visitor.wait_for_shell();
    desk.is_done();
    desk.tmux.press(&["q"]);
    desk.is_restored();
    desk.flow("dash --replay last");
    desk.tmux.wait_for("contact sheet");
    desk.tmux.press(&["q"]);
    desk.is_restored();
    desk.flow("dash --replay last --speed 2");
    desk.tmux.wait_for("contact sheet");
    desk.tmux.press(&["q"]);
    desk.is_restored();
}

#[test]
fn without_a_terminal_there_are_plain_lines() {
    let workshop = Workshop::new();
    workshop.graph(r#""base": MODEL"#);
    let call = workshop.call("dash", &[]);
    assert_eq!(call.code, Some(0), "{}", call.stderr);
    assert!(
        call.stderr.starts_with("no dashboard here, since standard input is no terminal"),
        "{}",
        call.stderr
    );
    assert!(call.stderr.contains("done in"), "{}", call.stderr);
    for way in ["--replay", "--attach"] {
        let again = flow(&workshop.path("."), &["dash", way, "last"]);
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        assert!(again.stderr.contains("done in"), "{way}: {}", again.stderr);
    }
}

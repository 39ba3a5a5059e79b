//! What is left when a run is killed, at random moments, fifty times.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::kit::Workshop;
use crate::kit::{options, run_in, session};
use crate::{Stop, Wanted};

/// Set for the process that is killed: the folder it works in, and which graph.
const FOLDER: &str = "FLOW_TEST_CRASH_FOLDER";
const ROUND: &str = "FLOW_TEST_CRASH_ROUND";
const ROUNDS: u64 = 50;

/// Some numbers and their sums, other ones in every round.
fn graph(round: u64) -> String {
    let numbers = (0..30).map(|at| format!("\"n{at}\": Number(value: {})", 100 * round + at));
    let sums = (0..30).map(|at| format!("\"s{at}\": Add(numbers: [\"n{at}\", \"n{}\"])", (at + 7) % 30));
    numbers.chain(sums).collect::<Vec<_>>().join(",\n")
}

#[test]
fn after_a_kill_the_next_run_ends_as_if_nothing_had_happened() {
    if let (Some(folder), Ok(round)) = (std::env::var_os(FOLDER), std::env::var(ROUND)) {
        let shop = Workshop::at(folder);
        run_in(
            &shop.session(),
            &graph(round.parse().unwrap()),
            Wanted::default(),
            options(2),
            Stop::default(),
        );
        return;
    }
    let shop = Workshop::new();
    let this = std::thread::current().name().unwrap_or_default().to_owned();
    let mut left_off_midway = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", &this]).env(FOLDER, shop.path("")).env(ROUND, round.to_string());
        let mut child = child.stdout(Stdio::null()).spawn().unwrap();
        // Spread over the time that such a process takes, from before its first node to after its last.
        std::thread::sleep(Duration::from_micros(500 + 1_777 * ((round * 29) % ROUNDS)));
        child.kill().unwrap();
        child.wait().unwrap();
        let nodes = graph(round);
        let undisturbed = run_in(&session(), &nodes, Wanted::default(), options(2), Stop::default()).0;
        let (later, events) = run_in(&shop.session(), &nodes, Wanted::default(), options(2), Stop::default());
        assert_eq!(later.digests, undisturbed.digests, "round {round}");
        let kept = events.iter().filter(|event| matches!(event, crate::Event::CacheHit { .. })).count();
        left_off_midway += usize::from((1..60).contains(&kept));
    }
    let store = shop.session().store.unwrap();
    assert_eq!(store.verify(|_, _| Ok(())).unwrap().damaged, []);
    println!("{left_off_midway} of {ROUNDS} kills came between the first node and the last");
}

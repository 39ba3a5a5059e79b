//! What is fuzzed: for each target a function from bytes, which must come back soon whatever they are.
//!
//! The programs under `fuzz_targets` hand these to libFuzzer; `tests/flow_tests/fuzz.rs` runs them on every file under
//! `corpus` and on small changes of it. A new target is a function here, a program, a `[[bin]]`, a folder of seeds and
//! a line in that test.

use std::sync::LazyLock;

use flow_engine::store::Entry;
use flow_engine::{Digest, Document, Graph, Record, Registry, ScriptFolders, Source, read_ron, read_script};
use flow_nodes::adapter::read;
use flow_nodes::sdxl::files::WeightFiles;

/// Making it takes longer than most graphs do.
static REGISTRY: LazyLock<Registry> = LazyLock::new(flow_nodes::registry);

/// A graph file: read, and checked as far as that needs no other file.
pub fn ron_source(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    told(read_ron(Document::new("graph.ron", text.to_owned()), &[], &REGISTRY));
}

/// A script in a folder without modules: run, and its graph checked as far as that needs no other file.
pub fn script(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let folders = ScriptFolders { script: "no/such/folder".into(), project: "no/such/folder".into() };
    told(read_script(Document::new("graph.rhai", text.to_owned()), &folders, &[], &REGISTRY));
}

/// Every mistake stands at a place in its text.
fn told(source: Source<'_>) {
    let Err(mistakes) = Graph::new(source, &REGISTRY) else { return };
    assert!(!mistakes.is_empty(), "a graph is refused with a reason");
    for mistake in mistakes {
        mistake.report();
        if let Some(place) = mistake.place {
            let text = place.document.text.get(place.span.clone());
            assert!(text.is_some(), "`{}` at {:?}", mistake.message, place.span);
        }
    }
}

/// A line of a recorded run: what can be read is written again so that it reads the same.
pub fn event_line(bytes: &[u8]) {
    let Ok(record) = serde_json::from_slice::<Record>(bytes) else { return };
    let line = serde_json::to_string(&record).expect("a record can be written");
    let again: Record = serde_json::from_str(&line).expect("what was written can be read");
    let [again, record] = [again, record].map(|record| serde_json::to_value(record).expect("it was written"));
    assert_eq!(again, record, "{line}");
}

/// An entry of the store, as it stands and with the checksum that it should have: what can be read is written again
/// as it was.
pub fn store_entry(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let json = text.lines().next().unwrap_or_default();
    let summed = format!("{json}\n{}\n", Digest::of(json.as_bytes()));
    for text in [text, &summed] {
        let Ok(entry) = Entry::from_text(text) else { continue };
        let written = entry.to_text().expect("an entry can be written");
        assert_eq!(Entry::from_text(&written).expect("what was written can be read"), entry);
        entry.bytes();
        entry.parts.key();
    }
}

/// A file of weights: its header, every tensor in it, and the adapter that it is, if it is one.
pub fn safetensors_header(bytes: &[u8]) {
    let Ok(files) = WeightFiles::from_bytes("fuzzed.safetensors", bytes.to_vec()) else { return };
    for (name, shape) in files.shapes() {
        if let Ok(tensor) = files.read(name) {
            assert_eq!(tensor.dims(), shape, "of {name}");
        }
    }
    // A file of weights need not be an adapter.
    let _ = read::of_bytes("fuzzed", bytes.to_vec());
}

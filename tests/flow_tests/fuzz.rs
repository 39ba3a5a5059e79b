//! What the fuzzer is let loose on, on every file that it began with or that once went wrong, and on small changes of
//! them: whatever the bytes are, reading them ends soon, in a value or in an error.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use super::root;

/// Longer than anything takes.
const SOON: Duration = Duration::from_secs(3);
/// How many changed inputs a target is given.
const CHANGED: usize = 2000;
/// More memory than anything takes, in KiB.
const MEMORY: u64 = 512 << 10;

type Target = fn(&[u8]);

/// Gives a target its corpus, and then changes of it.
fn survives(name: &str, target: Target, tokens: &[&[u8]]) {
    let folder = root().join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "only {} seeds of {name}", files.len());
    let seeds: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let before = peak_memory();
    for (file, seed) in files.iter().zip(&seeds) {
        ends_soon(&file.display().to_string(), target, seed);
    }
    let mut changes = Changes { state: 0x5eed, tokens };
    for index in 0..CHANGED {
        let bytes = changes.of(&seeds);
        ends_soon(&format!("change {index} of {name}"), target, &bytes);
    }
    let grown = peak_memory().saturating_sub(before);
    assert!(grown < MEMORY, "{name} took {grown} KiB");
}

fn ends_soon(what: &str, target: Target, bytes: &[u8]) {
    let text = || String::from_utf8_lossy(&bytes[..bytes.len().min(1000)]).into_owned();
    let time = || {
        let started = Instant::now();
        assert!(catch_unwind(|| target(bytes)).is_ok(), "{what} panicked; it begins with\n{}", text());
        started.elapsed()
    };
    // A machine that does something else as well is given another chance.
    let took = (0..3).map(|_| time()).find(|took| *took < SOON);
    assert!(took.is_some(), "{what} takes longer than {SOON:?}; it begins with\n{}", text());
}

/// The most memory that the process has held, in KiB; 0 where the system does not tell.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Small changes of inputs, the same ones every time.
struct Changes<'a> {
    state: u64,
    tokens: &'a [&'a [u8]],
}

impl Changes<'_> {
    /// A number below `end`, 0 if that is 0 (xorshift64).
    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as usize % end.max(1)
    }

    /// A short stretch of some bytes.
    fn stretch(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(40) + 1)
    }

    /// A seed with up to four changes.
    fn of(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let place = self.stretch(bytes.len());
            let new = match self.below(6) {
                0 => Vec::new(),
                1 => self.tokens[self.below(self.tokens.len())].to_vec(),
                2 => vec![self.below(256) as u8],
                3 => bytes[place.clone()].repeat(2),
                4 => {
                    let other = &seeds[self.below(seeds.len())];
                    other[self.stretch(other.len())].to_vec()
                }
                _ => bytes[place.clone()].iter().map(|byte| byte ^ (1 << self.below(8))).collect(),
            };
            bytes.splice(place, new);
        }
        bytes
    }
}

#[test]
fn a_graph_of_any_bytes_is_read_or_refused() {
    let tokens: [&[u8]; 12] = [
        b"\"a\": ",
        b"LoadSDXL(path: \"m\")",
        b"model: \"base\"",
        b"Some(",
        b"(",
        b"[",
        b"{",
        b"r#\"",
        b"//",
        b"/*",
        b"99999999999999999999",
        "\u{1F600}".as_bytes(),
    ];
    survives("ron_source", targets::ron_source, &tokens);
}

#[test]
fn a_script_of_any_bytes_makes_a_graph_or_is_refused() {
    let tokens: [&[u8]; 16] = [
        b"let a = ",
        b"#{ path: \"m\" }",
        b"LoadSDXL(#{ path: \"m\" })",
        b".DDIMSample(#{ prompt: \"x\" })",
        b".named(\"a\")",
        b"param(\"a\", 1)",
        b"for i in 0..9 {",
        b"loop {",
        b"fn f(x) {",
        b"|x| x",
        b"${",
        b"`",
        b"import \"a\" as a;",
        b".pad(9999, 0)",
        b"9223372036854775807",
        "\u{1F600}".as_bytes(),
    ];
    survives("script", targets::script, &tokens);
}

#[test]
fn a_recorded_line_of_any_bytes_is_read_and_written_again_or_refused() {
    let tokens: [&[u8]; 9] =
        [b"null", b"1e308", b"0.1", b"-0.0", b"18446744073709551615", b"\"type\":", b"[]", b"\\ud800", b"{}"];
    survives("event_line", targets::event_line, &tokens);
}

#[test]
fn a_stored_entry_of_any_bytes_is_read_and_written_again_or_refused() {
    let tokens: [&[u8]; 9] =
        [b"null", b"1e308", b"0.1", b"-1", b"18446744073709551615", b"\"format\":", b"[]", b"\n", b"{}"];
    survives("store_entry", targets::store_entry, &tokens);
}

#[test]
fn weights_of_any_bytes_are_read_or_refused() {
    let tokens: [&[u8]; 9] = [
        b"18446744073709551615",
        b"0",
        b"[1,0]",
        b"\"F32\"",
        b"\"F16\"",
        b".alpha",
        b".para_q",
        b"data_offsets",
        b"\0\0\0\0",
    ];
    // Half of them with a header that is as long as they say.
    survives("safetensors_header", targets::safetensors_header, &tokens);
    survives("safetensors_header", refitted, &tokens);
}

/// Weights whose header is said to end where its last bracket is.
fn refitted(bytes: &[u8]) {
    let Some((_, rest)) = bytes.split_first_chunk::<8>() else { return };
    let header = rest.iter().rposition(|&byte| byte == b'}').map_or(0, |last| last + 1);
    targets::safetensors_header(&[&(header as u64).to_le_bytes()[..], rest].concat());
}

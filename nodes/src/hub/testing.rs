//! A small hub on this machine, which can be told to misbehave.
//!
//! Only the standard library and SHA-256, so that the tests of the program can use it too.

#![allow(dead_code, reason = "two test programs share it, and neither uses all of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use sha2::{Digest, Sha256};

/// The commit at which the hub's only model stands.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The hub's only model.
pub(crate) const MODEL: &str = "tiny/mini-sdxl";

/// How the hub misbehaves.
#[derive(Clone, Default)]
pub(crate) struct Rules {
    /// Answers every question with this status and this `X-Error-Code`.
    pub refuse: Option<(u16, &'static str)>,
    /// Breaks off every transfer of this file after so many bytes.
    pub cut: Option<(String, usize)>,
    /// Sends this file with its last byte changed.
    pub corrupt: Option<String>,
    /// Lists this file and does not have it.
    pub absent: Option<String>,
    /// Lists names alone, without digests and sizes.
    pub names_only: bool,
    /// Lists every file with this many bytes.
    pub size: Option<u64>,
    /// Sends everything whatever part is asked for.
    pub no_ranges: bool,
    /// Sends large files from this address.
    pub cdn: Option<String>,
}

/// One question that the hub was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

struct State {
    files: BTreeMap<String, Vec<u8>>,
    rules: Mutex<Rules>,
    asked: Mutex<Vec<Asked>>,
    is_closing: AtomicBool,
}

/// A hub with one model; it goes when it is dropped.
pub(crate) struct Server {
    pub url: String,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// With these files.
    pub(crate) fn with(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of this machine");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let state = Arc::new(State {
            files,
            rules: Mutex::default(),
            asked: Mutex::default(),
            is_closing: AtomicBool::new(false),
        });
        let thread = thread::spawn({
            let state = Arc::clone(&state);
            move || listen(&listener, &state)
        });
        Self { url, state, thread: Some(thread) }
    }

    /// With the files of a folder, and some that no SDXL needs.
    pub(crate) fn of_folder(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(root, root, &mut files);
        for extra in ["sd_xl_base_1.0.safetensors", "unet/diffusion_pytorch_model.bin", "unet/model.onnx"] {
            files.insert(extra.to_owned(), b"not needed".to_vec());
        }
        Self::with(files)
    }

    pub(crate) fn rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.state.rules.lock().expect("rules"));
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.asked.lock().expect("questions"))
    }

    /// The files that were sent since the last time, in whole or in part.
    pub(crate) fn sent(&self) -> Vec<String> {
        let prefix = format!("/{MODEL}/resolve/{COMMIT}/");
        let gets = self.asked().into_iter().filter(|asked| asked.method == "GET");
        gets.filter_map(|asked| asked.path.strip_prefix(&prefix).map(str::to_owned)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.is_closing.store(true, Ordering::SeqCst);
        // Wakes it up.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// As the hub names a large file's bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As the hub names a file's bytes.
pub(crate) fn etag(name: &str, bytes: &[u8]) -> String {
    let digest = sha256(bytes);
    if name.ends_with(".safetensors") { digest } else { digest[..40].to_owned() }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).expect("the model's folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let name = path.strip_prefix(root).expect("below it").to_string_lossy().replace('\\', "/");
        files.insert(name, std::fs::read(&path).expect("a file"));
    }
}

fn listen(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.is_closing.load(Ordering::SeqCst) {
            return;
        }
        let state = Arc::clone(state);
        // Whoever asked may have gone.
        thread::spawn(move || stream.and_then(|stream| answer(stream, &state)));
    }
}

fn answer(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ').map(str::to_owned);
    let mut asked = Asked {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        range: None,
        token: None,
    };
    for line in lines {
        let line = line?;
        match line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value)) {
            Some((name, value)) if name == "range" => asked.range = Some(value.to_owned()),
            Some((name, value)) if name == "authorization" => asked.token = Some(value.to_owned()),
            Some(_) => {}
            None => break,
        }
    }
    state.asked.lock().expect("questions").push(asked.clone());
    let rules = state.rules.lock().expect("rules").clone();
    if let Some((status, code)) = rules.refuse {
        return head(&mut stream, status, &format!("x-error-code: {code}\r\ncontent-length: 0\r\n"));
    }
    if asked.path.starts_with("/api/") {
        return list(&mut stream, &asked, state, &rules);
    }
    let name = asked.path.split(COMMIT).nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    match state.files.get(&name).filter(|_| rules.absent.as_ref() != Some(&name)) {
        Some(bytes) => file(&mut stream, &asked, &name, bytes, &rules),
        None => head(&mut stream, 404, "x-error-code: EntryNotFound\r\ncontent-length: 0\r\n"),
    }
}

fn list(stream: &mut TcpStream, asked: &Asked, state: &State, rules: &Rules) -> std::io::Result<()> {
    if !asked.path.starts_with(&format!("/api/models/{MODEL}/revision/")) {
        return head(stream, 404, "x-error-code: RepoNotFound\r\ncontent-length: 0\r\n");
    }
    if !["main?", COMMIT].iter().any(|known| asked.path.contains(&format!("/revision/{known}"))) {
        return head(stream, 404, "x-error-code: RevisionNotFound\r\ncontent-length: 0\r\n");
    }
    let siblings = state.files.iter().map(|(name, bytes)| {
        let (etag, size) = (etag(name, bytes), rules.size.unwrap_or(bytes.len() as u64));
        match (rules.names_only, etag.len()) {
            (true, _) => format!(r#"{{"rfilename":"{name}"}}"#),
            (_, 64) => format!(
                r#"{{"rfilename":"{name}","size":{size},"blobId":"0","lfs":{{"sha256":"{etag}","size":{size},"pointerSize":135}}}}"#
            ),
            _ => format!(r#"{{"rfilename":"{name}","size":{size},"blobId":"{etag}"}}"#),
        }
    });
    let siblings: Vec<_> = siblings.collect();
    let json = format!(r#"{{"id":"{MODEL}","sha":"{COMMIT}","siblings":[{}]}}"#, siblings.join(","));
    head(stream, 200, &format!("content-length: {}\r\n", json.len()))?;
    stream.write_all(json.as_bytes())
}

fn file(
    stream: &mut TcpStream,
    asked: &Asked,
    name: &str,
    bytes: &[u8],
    rules: &Rules,
) -> std::io::Result<()> {
    let (etag, size) = (etag(name, bytes), bytes.len());
    let is_large = etag.len() == 64;
    if let Some(cdn) = rules.cdn.as_ref().filter(|_| is_large) {
        return head(
            stream,
            302,
            &format!(
                "location: {cdn}{}\r\nx-linked-etag: \"{etag}\"\r\nx-linked-size: {size}\r\nx-repo-commit: {COMMIT}\r\ncontent-length: 0\r\n",
                asked.path
            ),
        );
    }
    let from = asked.range.as_ref().filter(|_| !rules.no_ranges);
    let from = from.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let rest = &bytes[from.unwrap_or(0)..];
    let quoted = if is_large { format!("\"{etag}\"") } else { format!("W/\"{etag}\"") };
    let mut headers = format!("etag: {quoted}\r\ncontent-length: {}\r\n", rest.len());
    if let Some(from) = from {
        headers.push_str(&format!("content-range: bytes {from}-{}/{size}\r\n", size - 1));
    }
    head(stream, if from.is_some() { 206 } else { 200 }, &headers)?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    let mut rest = rest.to_vec();
    if rules.corrupt.as_deref() == Some(name) {
        rest.last_mut().into_iter().for_each(|byte| *byte ^= 1);
    }
    let cut = rules.cut.as_ref().filter(|(cut, _)| cut == name).map_or(rest.len(), |(_, after)| *after);
    stream.write_all(&rest[..cut.min(rest.len())])
}

fn head(stream: &mut TcpStream, status: u16, headers: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} Answer\r\n{headers}connection: close\r\n\r\n")
}

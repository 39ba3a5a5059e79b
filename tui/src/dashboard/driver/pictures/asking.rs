//! How the terminal shows pictures: asked once, with a limit of time, or said by `FLOW_PICTURES`.

use std::env;
use std::time::Duration;

use ratatui_image::picker::{Picker, ProtocolType};

use super::colours::Depth;

/// Names a way; without, the terminal is asked.
const VARIABLE: &str = "FLOW_PICTURES";
/// How long a terminal may take to say that it is one: over a slow line, longer than this is felt.
const PATIENCE: Duration = Duration::from_millis(500);

/// How pictures are shown.
#[derive(Clone)]
pub enum Way {
    /// As half-blocks.
    Blocks(Depth),
    /// In one of the terminal's own ways.
    Pixels(Picker),
    /// Not at all, and why.
    None(String),
}

/// The way of this terminal, and what a person should be told about it. It must be taken, and nobody else may read it
/// meanwhile.
pub fn way() -> (Way, Option<String>) {
    let wanted = env::var(VARIABLE).unwrap_or_default();
    let protocol = match &*wanted {
        "" => None,
        "kitty" => Some(ProtocolType::Kitty),
        "iterm2" => Some(ProtocolType::Iterm2),
        "sixel" => Some(ProtocolType::Sixel),
        "halfblocks" => return (Way::Blocks(depth()), None),
        "none" => return (Way::None(format!("no pictures: {VARIABLE} is `none`")), None),
        other => {
            let known = "kitty, iterm2, sixel, halfblocks and none";
            return (blocks(), Some(format!("{VARIABLE} is `{other}`; known are {known}")));
        }
    };
    (asked(protocol), None)
}

/// Asks the terminal; what is wanted counts more than what it says.
fn asked(wanted: Option<ProtocolType>) -> Way {
    let answer = if answers() { Picker::from_query_stdio().ok() } else { None };
    let protocol = wanted.or(answer.as_ref().map(Picker::protocol_type));
    match protocol {
        None | Some(ProtocolType::Halfblocks) => blocks(),
        Some(protocol) => {
            let mut picker = answer.unwrap_or_else(Picker::halfblocks);
            picker.set_protocol_type(protocol);
            Way::Pixels(picker)
        }
    }
}

/// Half-blocks, which are nothing without colours.
fn blocks() -> Way {
    match env::var("NO_COLOR").is_ok_and(|value| !value.is_empty()) {
        true => Way::None("no pictures without colours: NO_COLOR is set".to_owned()),
        false => Way::Blocks(depth()),
    }
}

fn depth() -> Depth {
    let variable = |name| env::var(name).unwrap_or_default();
    Depth::named(&variable("COLORTERM"), &variable("TERM"))
}

/// Whether the terminal answers at all: who asks one that does not takes the first keys for the answer. In tmux, it is
/// the terminal around it that counts, and there may be none.
#[cfg(unix)]
fn answers() -> bool {
    use std::io::{Write as _, stdout};

    /// "How are you?", of any terminal since the VT100.
    const QUESTION: &str = "\x1b[5n";
    const THROUGH_TMUX: &str = "\x1bPtmux;\x1b\x1b[5n\x1b\\";
    const ANSWER: &[u8] = b"\x1b[0n";

    let is_tmux = env::var_os("TMUX").is_some_and(|value| !value.is_empty());
    if is_tmux {
        let_through();
    }
    let mut out = stdout();
    let question = if is_tmux { THROUGH_TMUX } else { QUESTION };
    if out.write_all(question.as_bytes()).and_then(|()| out.flush()).is_err() {
        return false;
    }
    let mut heard = Vec::new();
    let end = std::time::Instant::now() + PATIENCE;
    while !heard.windows(ANSWER.len()).any(|bytes| bytes == ANSWER) {
        match read_until(end) {
            Some(bytes) => heard.extend(bytes),
            None => return false,
        }
    }
    true
}

/// Bytes from standard input, if some come in time.
#[cfg(unix)]
fn read_until(end: std::time::Instant) -> Option<Vec<u8>> {
    use std::io::stdin;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let left = end.checked_duration_since(std::time::Instant::now())?;
    let left = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
    let stdin = stdin();
    if poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&left)).ok()? == 0 {
        return None;
    }
    let mut bytes = [0; 64];
    let read = rustix::io::read(&stdin, &mut bytes).ok()?;
    (read > 0).then(|| bytes[..read].to_vec())
}

/// Asks tmux to pass on what is not for it.
#[cfg(unix)]
fn let_through() {
    use std::process::{Command, Stdio};

    let mut tmux = Command::new("tmux");
    tmux.args(["set", "-p", "allow-passthrough", "on"]);
    // An old tmux passes on everything, and knows no such option.
    let _ = tmux.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Nobody is asked here.
#[cfg(not(unix))]
fn answers() -> bool {
    let _ = PATIENCE;
    false
}

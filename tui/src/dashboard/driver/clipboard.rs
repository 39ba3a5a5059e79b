//! The clipboard of the terminal, over whatever lies between: OSC 52.

use std::env;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Terminals drop what is much longer than this, some with everything after it.
const MOST_BYTES: usize = 100_000;

/// What has the terminal put a text on its clipboard.
///
/// # Errors
/// Why it is not tried, for the person.
pub fn sequence(text: &str) -> Result<String, String> {
    if text.len() > MOST_BYTES {
        return Err(format!("{} kB are too much for the terminal's clipboard", text.len() / 1000));
    }
    Ok(for_terminal(text, env::var_os("TMUX").is_some_and(|value| !value.is_empty())))
}

/// tmux is told twice: it may keep a clipboard itself, and it may pass one on to the terminal around it.
fn for_terminal(text: &str, is_tmux: bool) -> String {
    let encoded = STANDARD.encode(text);
    let plain = format!("\x1b]52;c;{encoded}\x07");
    if is_tmux { format!("{plain}\x1bPtmux;\x1b{plain}\x1b\\") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_encoded_and_tmux_passes_it_on() {
        assert_eq!(for_terminal("hé", false), "\x1b]52;c;aMOp\x07");
        let plain = for_terminal("a", false);
        assert_eq!(for_terminal("a", true), format!("{plain}\x1bPtmux;\x1b{plain}\x1b\\"));
    }

    #[test]
    fn too_much_is_refused() {
        assert!(sequence(&"a".repeat(MOST_BYTES)).is_ok());
        let refused = sequence(&"a".repeat(MOST_BYTES + 1));
        assert_eq!(refused.unwrap_err(), "100 kB are too much for the terminal's clipboard");
    }
}

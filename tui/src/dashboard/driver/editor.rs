//! The person's editor, at a line and a column.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// What is tried if nobody says which editor.
const USUAL: [&str; 4] = ["editor", "vim", "vi", "nano"];

/// Opens a file in the editor that `VISUAL` or `EDITOR` names, and waits for it.
///
/// # Errors
/// Why it was not edited, for the person.
pub fn edit(file: &Path, line: usize, column: usize) -> Result<(), String> {
    let editor = editor().ok_or("no editor: set EDITOR to the one that you like")?;
    let status = command(&editor, &arguments(&editor, file, line, column)).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{editor}` ended with {status}")),
        Err(error) => Err(format!("cannot start `{editor}`: {error}")),
    }
}

fn editor() -> Option<String> {
    let named = ["VISUAL", "EDITOR"].iter().filter_map(|name| env::var(name).ok());
    let named = named.map(|value| value.trim().to_owned()).find(|value| !value.is_empty());
    named.or_else(|| USUAL.into_iter().find(|name| is_there(name)).map(str::to_owned))
}

fn is_there(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// The variables hold a line for the shell, with options and quotes in it.
#[cfg(unix)]
fn command(editor: &str, arguments: &[OsString]) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$@\"")).arg("sh").args(arguments);
    command
}

#[cfg(not(unix))]
fn command(editor: &str, arguments: &[OsString]) -> Command {
    let mut words = editor.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(arguments);
    command
}

/// How an editor is told the place; one that is not known is told the file only.
fn arguments(editor: &str, file: &Path, line: usize, column: usize) -> Vec<OsString> {
    let program = editor.split_whitespace().next().unwrap_or_default();
    let name = Path::new(program).file_stem().unwrap_or_default().to_string_lossy();
    let file = OsString::from(file);
    let mut behind = file.clone();
    behind.push(format!(":{line}:{column}"));
    match &*name {
        "vim" | "nvim" | "gvim" => vec![format!("+call cursor({line},{column})").into(), file],
        "vi" | "view" | "elvis" | "nvi" | "ex" | "joe" | "jed" | "mcedit" => {
            vec![format!("+{line}").into(), file]
        }
        "kak" | "emacs" | "emacsclient" => vec![format!("+{line}:{column}").into(), file],
        "nano" | "pico" => vec![format!("+{line},{column}").into(), file],
        "code" | "codium" | "code-insiders" | "cursor" => vec!["-g".into(), behind],
        "hx" | "helix" | "subl" | "zed" | "micro" => vec![behind],
        _ => vec![file],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_editor_is_told_the_place_in_its_own_way() {
        let told = |editor: &str| {
            let arguments = arguments(editor, Path::new("a b.ron"), 3, 7);
            arguments
                .iter()
                .map(|argument| argument.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
                .join(" | ")
        };
        let ways: Vec<String> =
            ["/usr/bin/nvim -p", "vi", "hx", "code -w", "emacs -nw", "nano", "kak", "ed"].map(told).into();
        insta::assert_snapshot!(ways.join("\n"), @r"
        +call cursor(3,7) | a b.ron
        +3 | a b.ron
        a b.ron:3:7
        -g | a b.ron:3:7
        +3:7 | a b.ron
        +3,7 | a b.ron
        +3:7 | a b.ron
        a b.ron
        ");
    }

    #[cfg(unix)]
    #[test]
    fn an_editor_may_come_with_options_and_quotes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a b");
        std::fs::write(&file, "x").unwrap();
        let mut editor = command("cp -- \"$1\" \"$1.copy\"; true", &[OsString::from(&file)]);
        assert!(editor.status().unwrap().success());
        assert_eq!(std::fs::read_to_string(folder.path().join("a b.copy")).unwrap(), "x");
    }
}

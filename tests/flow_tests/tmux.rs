//! A real terminal to try the dashboard in: tmux with a shell in it, which is typed into and read.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any machine takes, so that a test which waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// So often it is looked at.
pub(crate) const BEAT: Duration = Duration::from_millis(50);
/// What the shell says when it is ready for a line.
pub(crate) const PROMPT: &str = "ready>";

/// A terminal with a shell, until it is dropped.
pub(crate) struct Tmux {
    folder: tempfile::TempDir,
}

impl Tmux {
    /// Opens one with so many columns and rows, the shell in a folder. Where there is no tmux, it says so.
    pub(crate) fn open(folder: &Path, columns: u16, rows: u16) -> Option<Self> {
        if !is_there("tmux") || !is_there("bash") {
            // Not by `eprintln!`, which is kept from those who run tests that succeed.
            let _ =
                writeln!(std::io::stderr(), "SKIPPED: no tmux or no bash here: the dashboard is not tried");
            return None;
        }
        let this = Self { folder: tempfile::tempdir().expect("a folder for the socket") };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut tmux = this.tmux();
        tmux.args(["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, "-c"]).arg(folder);
        // A shell between this and that one would take the prompt away.
        tmux.args(["env", &format!("PS1={PROMPT} "), "bash", "--norc", "--noprofile"]);
        tmux.env("FLOW_PICTURES", "halfblocks");
        for variable in ["CI", "NO_COLOR", "COLORTERM", "VISUAL", "EDITOR"] {
            tmux.env_remove(variable);
        }
        assert!(tmux.status().expect("tmux starts").success());
        this.wait_for(PROMPT);
        Some(this)
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").arg("-S").arg(self.folder.path().join("socket")).stdin(Stdio::null());
        tmux
    }

    fn call(&self, arguments: &[&str]) -> String {
        let output = self.tmux().args(arguments).output().expect("tmux answers");
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Presses keys, by tmux's names for them.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.call(&[&["send-keys", "--"], keys].concat());
    }

    /// Types a line into the shell.
    pub(crate) fn line(&self, text: &str) {
        self.call(&["send-keys", "-l", "--", text]);
        self.press(&["Enter"]);
    }

    /// Makes the window larger or smaller.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.call(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Closes the window, as somebody does who is in a hurry.
    pub(crate) fn close(&self) {
        self.call(&["kill-server"]);
    }

    /// What is to be seen now.
    pub(crate) fn screen(&self) -> String {
        self.call(&["capture-pane", "-p"])
    }

    /// Whether a program has the alternate screen.
    pub(crate) fn is_on_alternate_screen(&self) -> bool {
        self.call(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }

    /// Whether a program has the alternate screen, whether there is a cursor, and whether a program takes the mouse.
    pub(crate) fn flags(&self) -> String {
        let flags = "#{alternate_on} #{cursor_flag} #{mouse_any_flag}";
        self.call(&["display-message", "-p", flags]).trim().to_owned()
    }

    /// The number of the shell's process.
    pub(crate) fn shell(&self) -> String {
        self.call(&["display-message", "-p", "#{pane_pid}"])
    }

    /// Waits until what is to be seen is so, and gives it.
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "never seen: {what}; instead:\n{screen}");
            std::thread::sleep(BEAT);
        }
    }

    /// Waits until a text is to be seen.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |screen| screen.contains(text))
    }

    /// Waits until the shell is back on its own screen.
    pub(crate) fn wait_for_shell(&self) -> String {
        self.wait_until("the shell", |screen| {
            !self.is_on_alternate_screen() && screen.trim_end().ends_with(PROMPT)
        })
    }

    /// Types a line into the shell, and gives what it prints.
    pub(crate) fn ask(&self, line: &str) -> String {
        self.press(&["C-l"]);
        self.wait_until("an empty screen", |screen| screen.trim() == PROMPT);
        self.line(&format!("{line}; echo [answered]"));
        let is_answered = |screen: &str| screen.lines().any(|line| line.trim() == "[answered]");
        let screen = self.wait_until("an answer", is_answered);
        let lines = screen.lines().skip_while(|line| !line.contains(PROMPT)).skip(1);
        lines.take_while(|line| line.trim() != "[answered]").collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // What was started in it ends with it.
        let _ = self.tmux().arg("kill-server").stderr(Stdio::null()).status();
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

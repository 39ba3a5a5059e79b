//! The plain printer: bars for what runs on a terminal, lines for what is done everywhere.
//!
//! It only reads events, and writes on standard error.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use flow_engine::plan::NEVER_RAN;
use flow_engine::{Event, Reader, Record, Result, Status};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::diagnostics::{colours_are_welcome, count, failure, rejected};
use super::out::{harmless, tell};

/// Without a terminal, a node that counts says so at most this often.
const SECONDS_BETWEEN_LINES: f64 = 5.0;

/// Prints a run for a person.
pub struct Plain {
    bars: MultiProgress,
    is_terminal: bool,
    running: HashMap<String, Running>,
    /// Width of the longest node name.
    width: usize,
}

struct Running {
    kind: String,
    bar: ProgressBar,
    /// When a line last told of its progress, in seconds of the run.
    told: f64,
}

impl Plain {
    /// On standard error.
    pub fn new() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let is_terminal = !bars.is_hidden();
        Self { bars, is_terminal, running: HashMap::new(), width: 0 }
    }

    /// The same without anything that moves.
    pub fn without_bars() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        Self { bars, is_terminal: false, running: HashMap::new(), width: 0 }
    }

    fn line(&self, text: &str) {
        if self.is_terminal {
            // A terminal that is gone is no reason to stop the run.
            let _ = self.bars.println(text);
        } else {
            tell(text);
        }
    }

    fn start(&mut self, node: &str, kind: &str, at: f64) {
        let bar = self.bars.add(
            ProgressBar::new_spinner().with_message(format!("{node:width$}  {kind}", width = self.width)),
        );
        bar.set_style(style("{spinner} {msg}  {elapsed}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        self.running.insert(node.to_owned(), Running { kind: kind.to_owned(), bar, told: at });
    }

    fn progress(&mut self, node: &str, done: u64, total: u64, unit: &str, at: f64) {
        let Some(running) = self.running.get_mut(node) else { return };
        if self.is_terminal {
            if running.bar.length() != Some(total) {
                running.bar.set_length(total);
                running
                    .bar
                    .set_style(style("{spinner} {msg}  {bar:30} {pos}/{len}  {elapsed} of about {duration}"));
            }
            running.bar.set_position(done);
        } else if at - running.told >= SECONDS_BETWEEN_LINES && done < total {
            running.told = at;
            self.line(&format!("  {node}: {unit} {done} of {total}"));
        }
    }

    fn end(&mut self, node: &str) -> String {
        let Some(running) = self.running.remove(node) else { return String::new() };
        running.bar.finish_and_clear();
        self.bars.remove(&running.bar);
        running.kind
    }
}

impl Default for Plain {
    fn default() -> Self {
        Self::new()
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// What a saved edit did.
fn reloaded(added: &[String], changed: &[String], removed: &[String]) -> String {
    let names = |sign: &str, names: &[String]| {
        names.iter().map(|name| format!(" {sign}{}", harmless(name))).collect::<String>()
    };
    match names("+", added) + names("~", changed).as_str() + names("-", removed).as_str() {
        none if none.is_empty() => "edited: nothing that decides a result".to_owned(),
        names => format!("edited:{names}"),
    }
}

/// A path relative to the current directory, if it lies in it.
fn from_here(path: &str) -> String {
    let here = std::env::current_dir().ok();
    let inside = here.as_ref().and_then(|here| Path::new(path).strip_prefix(here).ok());
    inside.map_or(path.to_owned(), |inside| inside.display().to_string())
}

/// A sign in a colour, if colours are welcome.
fn sign(sign: &str, colour: u8) -> String {
    if colours_are_welcome() { format!("\x1b[{colour}m{sign}\x1b[0m") } else { sign.to_owned() }
}

impl Reader for Plain {
    fn read(&mut self, record: &Record) -> Result<()> {
        let width = self.width;
        match &record.event {
            Event::RunStarted { graph, nodes, device, dtype, .. } => {
                self.line(&format!("{graph}: {} on {device} in {dtype}", count(*nodes, "node")));
            }
            Event::Plan { nodes } => {
                self.width = nodes.iter().map(|node| node.node.chars().count()).max().unwrap_or(0)
            }
            Event::CacheHit { node, .. } => {
                self.end(node);
                self.line(&format!("{} {:width$}  stored", sign("=", 34), harmless(node)));
            }
            Event::CacheMiss { node, why, .. } if why != NEVER_RAN => {
                self.line(&format!("  {}: {why}", harmless(node)));
            }
            Event::FileDigested { path, bytes, seconds } if *seconds > 1.0 => {
                self.line(&format!("  read {}, {}, in {seconds:.1} s", from_here(path), HumanBytes(*bytes)));
            }
            Event::GraphReloaded { added, changed, removed } => {
                self.running.drain().for_each(|(_, running)| running.bar.finish_and_clear());
                self.line(&reloaded(added, changed, removed));
            }
            Event::GraphRejected { diagnostics } => {
                diagnostics.iter().for_each(|report| self.line(&rejected(report)));
            }
            Event::NodeStarted { node, kind, .. } => self.start(node, kind, record.t),
            Event::Progress { node, done, total, unit } => self.progress(node, *done, *total, unit, record.t),
            Event::NodeFinished { node, seconds, .. } => {
                let kind = self.end(node);
                self.line(&format!(
                    "{} {:width$}  {kind:<14} {seconds:>7.2} s",
                    sign("+", 32),
                    harmless(node)
                ));
            }
            Event::NodeFailed { node, diagnostic } => {
                self.end(node);
                self.line(&failure(node, diagnostic));
            }
            Event::NodeSkipped { node, because } => {
                self.end(node);
                self.line(&format!("{} {:width$}  skipped: {because}", sign("-", 33), harmless(node)));
            }
            Event::Preview { path, .. } => self.line(&format!("  {}", from_here(path))),
            Event::Warning { node, message, hint } => {
                let about = node.as_ref().map(|node| format!("`{node}`: ")).unwrap_or_default();
                let hint = hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                self.line(&format!("{} {about}{message}{hint}", sign("warning:", 33)));
            }
            Event::RunFinished { status, seconds, finished, failed, skipped } => {
                let word = match status {
                    Status::Done => "done",
                    Status::Partial => "done in part",
                    Status::Failed => "failed",
                    Status::Cancelled => "cancelled",
                };
                let rest = match (failed, skipped) {
                    (0, 0) => String::new(),
                    _ => format!(", {failed} failed, {skipped} skipped"),
                };
                self.line(&format!("{word} in {seconds:.1} s: {} finished{rest}", count(*finished, "node")));
            }
            _ => {}
        }
        Ok(())
    }
}

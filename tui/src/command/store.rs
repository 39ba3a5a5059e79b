//! `flow store list|gc|verify`: looks after stored results.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use flow_engine::store::{Listed, Store, Sweep};
use flow_engine::{Project, Result};
use indicatif::{HumanBytes, ProgressBar};

use crate::open::one;
use crate::show::diagnostics::count;
use crate::show::out;
use crate::show::table::{Column, table};
use crate::{Ending, Exit};

#[derive(Args)]
pub struct StoreArguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List stored results, latest first.
    List {
        /// Only results of this kind of node.
        #[arg(long)]
        kind: Option<String>,
        /// As many at most.
        #[arg(long, value_name = "N", default_value_t = 50)]
        last: usize,
    },
    /// Take out what nobody needs: leftovers of crashes, and what the options say.
    Gc {
        /// Results that were not used for so long: 30d, 12h.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        older_than: Option<Duration>,
        /// As many results as it takes to come down to this size, in GiB; those used least recently go first.
        #[arg(long, value_name = "GIB", value_parser = size)]
        max_size: Option<f64>,
        /// Only say what would go.
        #[arg(long)]
        dry_run: bool,
    },
    /// Read every byte, and take out what is damaged.
    Verify,
}

fn size(text: &str) -> Result<f64, String> {
    let size: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if size.is_finite() && size >= 0.0 { Ok(size) } else { Err("a size is 0 or more".to_owned()) }
}

pub fn store(arguments: &StoreArguments) -> Ending {
    let project = Project::here();
    let store = Store::at(project.home().join("store"));
    match &arguments.verb {
        Verb::List { kind, last } => list(&store, kind.as_deref(), *last).map_err(one),
        Verb::Gc { older_than, max_size, dry_run } => {
            let max_bytes = max_size.map(|gib| (gib * f64::from(1 << 30)) as u64);
            gc(&store, Sweep { older_than: *older_than, max_bytes, dry_run: *dry_run }).map_err(one)
        }
        Verb::Verify => verify(&store).map_err(one),
    }
}

fn list(store: &Store, kind: Option<&str>, last: usize) -> Result<Exit> {
    let all = store.list();
    let is_meant = |listed: &&Listed| kind.is_none_or(|kind| listed.entry.parts.kind == kind);
    let meant: Vec<_> = all.iter().filter(is_meant).collect();
    let columns = [
        Column::Words("key"),
        Column::Words("kind"),
        Column::Words("type"),
        Column::Number("size"),
        Column::Number("seconds"),
        Column::Words("used"),
    ];
    let row = |listed: &&Listed| {
        let entry = &listed.entry;
        vec![
            entry.key.short(),
            entry.parts.kind.clone(),
            entry.type_name.clone(),
            entry.bytes().map_or("digest".to_owned(), |bytes| HumanBytes(bytes).to_string()),
            format!("{:.2}", entry.cost.seconds),
            humantime::format_rfc3339_seconds(listed.used).to_string(),
        ]
    };
    let shown = table(&columns, meant.iter().take(last).map(row));
    let bytes: u64 = meant.iter().filter_map(|listed| listed.entry.bytes()).sum();
    let more = meant.len().saturating_sub(last);
    let more = if more > 0 { format!(", {more} of them not shown") } else { String::new() };
    let total = format!("{}{more}: {}\n", count(meant.len(), "result"), HumanBytes(bytes));
    out::print(&if meant.is_empty() {
        "nothing is stored\n".to_owned()
    } else {
        format!("{shown}\n{total}")
    })?;
    Ok(Exit::Done)
}

fn gc(store: &Store, sweep: Sweep) -> Result<Exit> {
    let swept = store.sweep(sweep)?;
    let would = if sweep.dry_run { "would take out" } else { "took out" };
    let (results, files) = (count(swept.entries, "result"), count(swept.files, "file"));
    let (bytes, left) = (HumanBytes(swept.bytes), HumanBytes(swept.bytes_left));
    out::print(&format!("{would} {results} and {files}: {bytes}; {left} are left\n"))?;
    Ok(Exit::Done)
}

fn verify(store: &Store) -> Result<Exit> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let verified = store.verify(|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    for (path, fault) in &verified.damaged {
        out::print(&format!("damaged, and taken out: {}: {fault}\n", path.display()))?;
    }
    out::print(&format!("{} whole, {} damaged\n", count(verified.whole, "result"), verified.damaged.len()))?;
    Ok(if verified.damaged.is_empty() { Exit::Done } else { Exit::NodeFailed })
}

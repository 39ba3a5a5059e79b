//! `flow dash GRAPH`: runs a graph on a screen, shows a run again, or looks at the run of another process.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Args;
use crossterm::event::KeyEvent;
use flow_engine::{Control, Override, Project, Reader as _, Result, Stop, runs};

use crate::command::run::{self, Reload, RunArguments, Ui};
use crate::dashboard::driver::{self, Dashboard, Screenshot, World, can_be_shown};
use crate::dashboard::{Scope, keys};
use crate::open::{GraphArguments, SettingsArguments, StoreArguments, WantedArguments, one, parsed_override};
use crate::show::out;
use crate::show::plain::Plain;
use crate::{Ending, Exit};

/// How often a run that is followed without a screen is looked at.
const BEAT: Duration = Duration::from_millis(100);
/// The columns, and rows, that a screenshot may have.
const SIDES: RangeInclusive<u16> = 1..=500;

#[derive(Args)]
pub struct DashArguments {
    /// The graph: a `.ron` file, or a `.rhai` script that makes one.
    #[arg(required_unless_present_any = ["replay", "attach"], conflicts_with_all = ["replay", "attach"])]
    graph: Option<PathBuf>,
    /// Set a field of a node, or a parameter of a script; the value is read as RON,
    /// and the text of a parameter needs no quotes. May be given several times.
    #[arg(long = "set", value_name = "NODE.FIELD=VALUE", value_parser = parsed_override, requires = "graph")]
    overrides: Vec<Override>,
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    wanted: WantedArguments,
    /// Let what does not depend on a failed node still run.
    #[arg(short, long, requires = "graph")]
    keep_going: bool,
    /// Run once; a saved edit counts when a node is run again.
    #[arg(long, requires = "graph")]
    no_watch: bool,
    /// Look at the files so often, for network file systems that do not tell of edits.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "graph", conflicts_with = "no_watch")]
    poll: Option<Duration>,
    /// Also write every event to this file, one JSON object per line.
    #[arg(long, value_name = "PATH", requires = "graph")]
    events: Option<PathBuf>,
    /// How many nodes may run at the same time; as many as there are processors, if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), requires = "graph")]
    jobs: Option<u16>,
    /// Show a run that was written down: its id, the beginning of one, its folder, or `last`.
    #[arg(long, value_name = "RUN", conflicts_with = "attach")]
    replay: Option<String>,
    /// With `--replay`: so many times as fast as it was; without, all of it at once.
    #[arg(long, value_name = "N", value_parser = speed, requires = "replay")]
    speed: Option<f64>,
    /// With `--replay`: write the screen to this PNG file instead of showing it.
    #[arg(long, value_name = "FILE", requires = "replay", conflicts_with = "speed")]
    screenshot: Option<PathBuf>,
    /// Of a screenshot: its columns and rows.
    #[arg(long, value_name = "COLUMNSxROWS", value_parser = size, default_value = "120x40", requires = "screenshot")]
    size: (u16, u16),
    /// Of a screenshot: the keys that are pressed first, such as `3` or `G Enter`.
    #[arg(long, value_name = "KEYS", value_parser = keys, default_value = "", requires = "screenshot")]
    keys: Keys,
    /// Of a screenshot: so many seconds after the run started; its end, if not given.
    #[arg(long, value_name = "SECONDS", requires = "screenshot")]
    until: Option<f64>,
    /// Look at the run that another process is making; leaving does not stop it.
    #[arg(long, value_name = "RUN")]
    attach: Option<String>,
}

/// Reads a speed.
fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "a number is needed, such as 1 or 10".to_owned())?;
    if speed.is_finite() && speed > 0.0 { Ok(speed) } else { Err("the speed is a number above 0".to_owned()) }
}

/// Keys in their order.
#[derive(Debug, Clone)]
struct Keys(Vec<KeyEvent>);

/// Reads names of keys.
fn keys(text: &str) -> Result<Keys, String> {
    let key =
        |name| keys::by_name(name).ok_or_else(|| format!("`{name}` is no key; `Ctrl-d` or `Enter` is one"));
    text.split_whitespace().map(key).collect::<Result<_, _>>().map(Keys)
}

/// Reads a size of a screen.
fn size(text: &str) -> Result<(u16, u16), String> {
    let read = || {
        let (columns, rows) = text.split_once('x')?;
        Some((columns.parse().ok()?, rows.parse().ok()?))
    };
    read().filter(|(columns, rows)| SIDES.contains(columns) && SIDES.contains(rows)).ok_or_else(|| {
        format!("columns and rows are needed, such as 120x40, each from {} to {}", SIDES.start(), SIDES.end())
    })
}

pub fn dash(arguments: DashArguments) -> Ending {
    if let (Some(name), Some(to)) = (&arguments.replay, &arguments.screenshot) {
        return arguments.screenshot_of(name, to);
    }
    if let Err(reason) = can_be_shown() {
        out::tell(&format!("no dashboard here, since {reason}; plain lines instead"));
    }
    let run = |name: &str| runs::find(&Project::here(), name).map_err(one);
    match (arguments.graph.clone(), &arguments.replay, &arguments.attach) {
        (Some(graph), _, _) => run::run(&arguments.of_graph(graph)),
        (None, Some(name), _) => replay(&run(name)?, arguments.speed).map_err(one),
        (None, None, Some(name)) => attach(&run(name)?).map_err(one),
        (None, None, None) => Ok(Exit::Done),
    }
}

impl DashArguments {
    fn screenshot_of(&self, run: &str, to: &Path) -> Ending {
        let run = runs::find(&Project::here(), run).map_err(one)?;
        let Self { size, until, .. } = *self;
        Screenshot { size, keys: self.keys.0.clone(), until }.write(&run, to).map_err(one)?;
        Ok(Exit::Done)
    }

    /// The same as arguments of `flow run`. Where there is no screen to leave, nothing is watched: the run ends.
    fn of_graph(self, graph: PathBuf) -> RunArguments {
        RunArguments {
            graph: GraphArguments { graph, overrides: self.overrides },
            settings: self.settings,
            store: self.store,
            wanted: self.wanted,
            keep_going: self.keep_going,
            dry_run: false,
            locked: false,
            watch: !self.no_watch && can_be_shown().is_ok(),
            reload: Reload::Auto,
            poll: self.poll,
            ui: Ui::Tui,
            events: self.events,
            jobs: self.jobs,
        }
    }
}

/// Shows a run that was written down.
fn replay(run: &Path, speed: Option<f64>) -> Result<Exit> {
    if can_be_shown().is_err() {
        let mut plain = Plain::without_bars();
        runs::records(run)?.try_for_each(|record| plain.read(&record))?;
        return Ok(Exit::Done);
    }
    on_a_screen(Scope::Recorded, |dashboard, stop| driver::replay(dashboard, run, speed, stop))
}

/// Shows a run as another process makes it.
fn attach(run: &Path) -> Result<Exit> {
    if can_be_shown().is_err() {
        return follow_in_lines(run);
    }
    on_a_screen(Scope::Attached, |dashboard, stop| driver::follow(dashboard, run, stop))
}

/// Opens a screen, has somebody tell it a run, and waits until it is left.
fn on_a_screen(scope: Scope, tell: impl FnOnce(&Dashboard, &Stop) -> Result<()>) -> Result<Exit> {
    let stop = Stop::default();
    let store = Some(Project::here().home().join("store"));
    let world = World { scope, stop: stop.clone(), control: Control::default(), store };
    let dashboard = Dashboard::open(world)?;
    tell(&dashboard, &stop)?;
    Ok(if dashboard.wait() { Exit::Cancelled } else { Exit::Done })
}

/// Prints a run as another process makes it, until it is over or somebody is tired of it.
fn follow_in_lines(run: &Path) -> Result<Exit> {
    let (mut follow, mut plain) = (runs::follow(run), Plain::without_bars());
    loop {
        let batch = follow.next_batch()?;
        batch.records.iter().try_for_each(|record| plain.read(record))?;
        if batch.is_over {
            return Ok(Exit::Done);
        }
        if batch.records.is_empty() {
            thread::sleep(BEAT);
        }
    }
}

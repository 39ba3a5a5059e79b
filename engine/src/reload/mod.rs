//! Hot reload: a graph runs on while its file, and the files that it reads, are edited.
//!
//! An edit is read, checked and planned like any graph. With a mistake in it, it is told and the graph that runs goes
//! on. Otherwise a new generation of the run takes over: what runs under a key that the new plan has goes on and is
//! waited for, what nobody needs any more stops at its next step, and the rest is as in any run.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crate::control::HEARTBEAT;
use crate::plan::{Before, Plan, Wanted};
use crate::watch::{Sighting, Watch};
use crate::{
    Control, Diagnostic, Digest, Event, Events, GraphNode, Options, Project, Ready, Result, Run, Session,
    Source, Status, Stop,
};

/// Edits closer together than this are one.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// A graph that is run again whenever something that decides it is edited, or somebody asks for it.
pub struct Live<'a> {
    /// Settings, files, the store and shared slots.
    pub session: &'a Session,
    /// Reads the graph file as it is now.
    pub read: &'a (dyn Fn() -> Result<Source<'a>, Vec<Diagnostic>> + Sync),
    /// The files that the graph is written in.
    pub files: Vec<PathBuf>,
    /// What is to be run of it.
    pub wanted: Wanted,
    /// What ran before, as it is known when a generation starts.
    pub before: &'a (dyn Fn() -> Before<'a> + Sync),
    /// Who decides whether an edit takes effect.
    pub allow: &'a (dyn Fn(&Change) -> bool + Sync),
    /// Who is told.
    pub events: Events,
    /// Who ends it all.
    pub stop: Stop,
    /// Who steers it meanwhile.
    pub control: Control,
    /// How each generation goes about it.
    pub options: Options,
    /// Whether edits take effect by themselves; if not, they do when somebody asks to run again.
    pub is_watched: bool,
    /// Look at files this often, where the system does not tell of edits.
    pub poll: Option<Duration>,
}

/// What an edit does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Nodes that are new.
    pub added: Vec<String>,
    /// Nodes whose key changed.
    pub changed: Vec<String>,
    /// Nodes that are gone.
    pub removed: Vec<String>,
    /// Nodes that are running now and would be stopped.
    pub stopped: Vec<String>,
}

/// What the loop waits for.
enum News {
    Seen(Sighting),
    /// A generation has ended.
    Ended(usize, Status),
}

impl From<Sighting> for News {
    fn from(sighting: Sighting) -> Self {
        Self::Seen(sighting)
    }
}

/// A checked graph under its plan.
struct Generation<'a> {
    number: usize,
    ready: Arc<Ready<'a>>,
    plan: Arc<Plan>,
    retired: Stop,
    /// How it ended; none while it runs.
    status: Option<Status>,
}

/// What the loop knows.
struct Watching<'s, 'a> {
    live: &'s Live<'a>,
    watch: Option<Watch>,
    news: Sender<News>,
    current: Option<Generation<'a>>,
    /// The mistakes that were told last, so that they are told once.
    rejected: Vec<Diagnostic>,
    generations: usize,
    /// The files behind the graph's nodes that are watched.
    files: BTreeSet<PathBuf>,
}

impl<'a> Live<'a> {
    /// Runs the graph and every edit of it until it is asked to stop. How the last generation ended.
    ///
    /// # Errors
    /// A system that lets nobody watch.
    pub fn run(&self) -> Result<Status> {
        let (news, heard) = channel();
        let watch = self.is_watched.then(|| self.watch(news.clone())).transpose()?;
        let (current, rejected) = (None, Vec::new());
        let mut watching =
            Watching { live: self, watch, news, current, rejected, generations: 0, files: BTreeSet::new() };
        thread::scope(|scope| watching.listen(scope, &heard))
    }

    fn watch(&self, news: Sender<News>) -> Result<Watch> {
        match self.poll {
            Some(every) => Watch::polling(DEBOUNCE, every, news),
            None => Watch::new(DEBOUNCE, news),
        }
    }
}

impl<'s, 'a: 's> Watching<'s, 'a> {
    fn listen<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, heard: &Receiver<News>) -> Result<Status>
    where
        's: 'scope,
    {
        let live = self.live;
        self.watch_files(live.files.clone())?;
        let _telling = live.control.tell_pauses(&live.events);
        self.consider(scope);
        while !live.stop.asked() {
            match heard.recv_timeout(HEARTBEAT) {
                Ok(News::Seen(Sighting::Edited(_))) => self.consider(scope),
                Ok(News::Seen(Sighting::Worse(problem))) => {
                    let message = format!("edits may be seen late: {problem}");
                    live.events.emit(Event::Warning { node: None, message, hint: None });
                }
                Ok(News::Ended(number, status)) => self.ended(number, status),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if let Some(forced) = live.control.take_again() {
                self.run_again(scope, forced);
            }
        }
        // The generation that runs hears the same request, and tells how it ended.
        while self.current.as_ref().is_some_and(|current| current.status.is_none()) {
            if let Ok(News::Ended(number, status)) = heard.recv() {
                self.ended(number, status);
            }
        }
        Ok(self.current.as_ref().and_then(|current| current.status).unwrap_or(Status::Failed))
    }

    fn ended(&mut self, number: usize, status: Status) {
        if let Some(current) = self.current.as_mut().filter(|current| current.number == number) {
            current.status = Some(status);
        }
    }

    /// Reads the graph again, and lets it take effect if it is another and has no mistakes.
    fn consider<'scope>(&mut self, scope: &'scope Scope<'scope, '_>)
    where
        's: 'scope,
    {
        let live = self.live;
        let ready = match self.opened() {
            Ok(ready) => ready,
            Err(mistakes) => return self.reject(mistakes),
        };
        let before = (live.before)();
        let plan = ready.plan(live.session, &before, &live.events, &live.stop);
        if self.takes_effect(&ready, &plan) {
            // While somebody was asked, what runs went on.
            let plan = ready.plan(live.session, &before, &live.events, &live.stop);
            self.take_over(scope, Arc::new(ready), plan, before);
        }
    }

    /// Runs what has no result yet, and some nodes with what depends on them whatever is stored.
    fn run_again<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, forced: Vec<String>)
    where
        's: 'scope,
    {
        let live = self.live;
        let ready = match self.graph_to_run_again() {
            Ok(ready) => ready,
            Err(mistakes) => return self.reject(mistakes),
        };
        let wanted = self.wanted_again(&ready, forced);
        let before = (live.before)();
        let plan = ready.plan_for(&wanted, live.session, &before, &live.events, &live.stop);
        if let Some(current) = self.current.as_ref().filter(|current| has_other_text(&ready, current)) {
            self.tell(&self.change(current, &plan));
        }
        self.take_over(scope, ready, plan, before);
    }

    /// The graph that runs. Where nobody watches, it is as it is written now, and its mistakes are told every time that
    /// somebody asks.
    fn graph_to_run_again(&mut self) -> Result<Arc<Ready<'a>>, Vec<Diagnostic>> {
        match &self.current {
            Some(current) if self.live.is_watched => Ok(Arc::clone(&current.ready)),
            _ => {
                self.rejected.clear();
                self.opened().map(Arc::new)
            }
        }
    }

    /// What is wanted when some nodes are forced to run again. Nodes that were forced before and have no result of that
    /// yet stay forced; those that have one are not forced once more.
    fn wanted_again(&self, ready: &Ready<'_>, forced: Vec<String>) -> Wanted {
        let names: HashSet<&str> = ready.graph.nodes().map(GraphNode::name).collect();
        let (from, unknown): (Vec<_>, Vec<_>) =
            forced.into_iter().partition(|name| names.contains(name.as_str()));
        for name in unknown {
            let message = format!("there is no node `{name}` to run again");
            self.live.events.emit(Event::Warning { node: None, message, hint: None });
        }
        let mut targets = self.live.wanted.targets.clone();
        if !targets.is_empty() {
            targets.extend(from.clone());
        }
        let mut force = self.still_forced();
        force.retain(|name| names.contains(name.as_str()));
        Wanted { targets, from, force }
    }

    /// Nodes that the generation that runs was to run whatever is stored, and has no result of.
    fn still_forced(&self) -> Vec<String> {
        self.current.as_ref().map(|current| current.plan.still_forced()).unwrap_or_default()
    }

    fn watch_files(&self, files: impl IntoIterator<Item = PathBuf>) -> Result<()> {
        self.watch.as_ref().map_or(Ok(()), |watch| watch.set_files(files))
    }

    /// The graph as it is now; the files that it reads are watched from now on, also if it has mistakes.
    fn opened(&mut self) -> Result<Ready<'a>, Vec<Diagnostic>> {
        let live = self.live;
        let source = (live.read)()?;
        self.files = files_behind(&source, &live.session.project, std::mem::take(&mut self.files));
        let watched = self.watch_files(live.files.iter().chain(&self.files).chain(&source.files).cloned());
        watched.map_err(|error| vec![Diagnostic::from_error(&error)])?;
        let mut wanted = live.wanted.clone();
        // An edit elsewhere is no reason to take a stored result after all.
        let names: HashSet<&str> = source.nodes.iter().map(|node| node.name.as_str()).collect();
        let forced = self.still_forced().into_iter();
        wanted.force.extend(forced.filter(|name| names.contains(name.as_str())));
        Ready::new(source, live.session, wanted)
    }

    /// Tells the mistakes of an edit, once.
    fn reject(&mut self, mistakes: Vec<Diagnostic>) {
        if self.rejected != mistakes {
            let diagnostics = mistakes.iter().map(Diagnostic::report).collect();
            self.live.events.emit(Event::GraphRejected { diagnostics });
            self.rejected = mistakes;
        }
    }

    /// Whether an edit changes what runs, and may. That it was seen is told if the graph's text is another.
    fn takes_effect(&mut self, ready: &Ready<'_>, plan: &Plan) -> bool {
        let was_rejected = !std::mem::take(&mut self.rejected).is_empty();
        let Some(current) = &self.current else { return true };
        let change = self.change(current, plan);
        let is_same = change.added.is_empty() && change.changed.is_empty() && change.removed.is_empty();
        // What failed is tried again when a file that it reads is saved, though keys are the same.
        let is_over_and_failed = current.status.is_some_and(|status| status != Status::Done);
        if is_same && !is_over_and_failed {
            if has_other_text(ready, current) || was_rejected {
                self.tell(&change);
            }
            return false;
        }
        let is_allowed = (self.live.allow)(&change);
        if is_allowed {
            self.tell(&change);
        }
        is_allowed
    }

    fn tell(&self, change: &Change) {
        let Change { added, changed, removed, stopped: _ } = change.clone();
        self.live.events.emit(Event::GraphReloaded { added, changed, removed });
    }

    fn change(&self, current: &Generation<'_>, plan: &Plan) -> Change {
        let keys = |plan: &Plan| -> BTreeMap<String, Option<Digest>> {
            plan.nodes.iter().map(|node| (node.node.clone(), node.key)).collect()
        };
        let (before, after) = (keys(&current.plan), keys(plan));
        // A node without a key may have changed.
        let is_other =
            |name: &String| before.get(name).is_some_and(|key| key.is_none() || *key != after[name]);
        Change {
            added: after.keys().filter(|name| !before.contains_key(*name)).cloned().collect(),
            changed: after.keys().filter(|name| is_other(name)).cloned().collect(),
            removed: before.keys().filter(|name| !after.contains_key(*name)).cloned().collect(),
            stopped: self.live.session.flights.all_but(&contents(plan)),
        }
    }

    /// Starts a generation in the place of the one that runs.
    fn take_over<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        ready: Arc<Ready<'a>>,
        plan: Plan,
        before: Before<'a>,
    ) where
        's: 'scope,
    {
        if let Some(current) = &self.current {
            current.retired.ask();
            self.live.session.flights.stop_all_but(&contents(&plan));
            self.live.control.forgive();
        }
        self.generations += 1;
        let number = self.generations;
        let (plan, retired) = (Arc::new(plan), Stop::default());
        self.current = Some(Generation {
            number,
            ready: Arc::clone(&ready),
            plan: Arc::clone(&plan),
            retired: retired.clone(),
            status: None,
        });
        let (live, news) = (self.live, self.news.clone());
        scope.spawn(move || {
            let (session, events, stop) = (live.session, live.events.clone(), live.stop.clone());
            let (control, options) = (live.control.clone(), live.options);
            let run = Run { ready: &ready, session, before, events, stop, control, retired, options };
            let started = Instant::now();
            if number == 1 {
                run.tell_start();
            }
            run.tell_plan(&plan);
            let status = run.execute_plan(&plan, started).status;
            // A loop that is gone has been told to stop.
            let _ = news.send(News::Ended(number, status));
        });
    }
}

fn has_other_text(ready: &Ready<'_>, current: &Generation<'_>) -> bool {
    ready.graph.document.text != current.ready.graph.document.text
}

/// What decides what a graph's nodes read. Where a node cannot tell, because a file is missing or half written, whatever
/// was watched before goes on being watched, so that its coming back is seen.
fn files_behind(source: &Source<'_>, project: &Project, before: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut behind = BTreeSet::new();
    let mut is_complete = true;
    for node in &source.nodes {
        match node.node.files(project) {
            Ok(files) => behind.extend(files),
            Err(_) => is_complete = false,
        }
        // A folder of pictures: what comes into it is read as well.
        let reads = node.node.target(project).is_none();
        let path = node.node.path().filter(|_| reads);
        behind.extend(path.map(|path| project.path(&path)));
    }
    if !is_complete {
        behind.extend(before);
    }
    behind
}

/// The content keys that a plan knows.
fn contents(plan: &Plan) -> HashSet<Digest> {
    plan.steps.iter().filter_map(|step| step.content).collect()
}

#[cfg(test)]
mod again_tests;
#[cfg(test)]
mod tests;

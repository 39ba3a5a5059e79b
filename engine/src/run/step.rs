//! What a worker does with one node: finds its result, waits for whoever makes it, or runs it and files the result.

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;

use super::Run;
use super::floor::{End, Floor, Why};
use crate::context::{Outputs, Purpose};
use crate::control::Reins;
use crate::flight::{Boarding, Landed, Passenger, Pilot};
use crate::plan::{files_now, why_missing};
use crate::store::{Cost, Entry, Found, is_read_only};
use crate::{
    Cancelled, Cx, Diagnostic, Digest, Event, GraphNode, KeyParts, Nature, Output, Problem, Result, Stop,
    StoredFile,
};

/// A node's content key with what it is made from.
pub(super) struct Keyed {
    pub key: Digest,
    parts: KeyParts,
}

/// What a node gave, and what a person was told meanwhile.
pub(super) struct Ran {
    pub output: Output,
    warnings: Vec<(String, Option<String>)>,
    cost: Cost,
    /// How long it took now; what it costs may be more.
    seconds: f64,
}

impl Floor<'_> {
    pub fn step(&self, at: usize) -> End {
        self.held_back(at).unwrap_or_else(|| self.resolve(at))
    }

    /// Waits while the run is paused; how the node ends, if it is not to start.
    fn held_back(&self, at: usize) -> Option<End> {
        let Run { stop, retired, control, .. } = self.run;
        // What will not run anyway is told during a pause too.
        if self.reason_to_skip(at).is_none() {
            control.hold(self.nodes[at].name(), || stop.asked() || retired.asked());
        }
        if retired.asked() {
            return Some(End::Skipped);
        }
        self.reason_to_skip(at).map(|why| self.skipped(at, why))
    }

    fn skipped(&self, at: usize, why: Why) -> End {
        let (because, end) = match why {
            Why::Cancelled => ("it was cancelled by hand".to_owned(), End::Cancelled),
            Why::Because(because) => (because, End::Skipped),
        };
        if !self.run.retired.asked() {
            self.run.events.emit(Event::NodeSkipped { node: self.name(at), because });
        }
        end
    }

    pub(super) fn name(&self, at: usize) -> String {
        self.nodes[at].name().to_owned()
    }

    fn is_cancelled(&self, at: usize) -> bool {
        self.run.control.has_cancelled(self.nodes[at].name())
    }

    /// Who may hold a node or stop it.
    fn reins<'s>(&'s self, at: usize, stop: &'s Stop) -> Reins<'s> {
        Reins { stop, control: &self.run.control, node: self.nodes[at].name() }
    }

    fn resolve(&self, at: usize) -> End {
        let Some(keyed) = self.keyed(at) else { return self.run_without_key(at) };
        if let Some(end) = self.stored(at, &keyed) {
            return end;
        }
        let flight = self.flight_key(at, keyed.key);
        let Run { session, stop, retired, .. } = self.run;
        let is_cancelled = || self.is_cancelled(at);
        let passenger = Passenger { node: self.nodes[at].name(), stop, retired, is_cancelled: &is_cancelled };
        loop {
            match session.flights.board(flight, &passenger) {
                // A run that takes this one's place has looked at what runs already: nothing may start behind its back.
                Boarding::First(_) if retired.asked() => return End::Skipped,
                Boarding::First(pilot) => return self.fly(at, &keyed, pilot),
                Boarding::Joined(Landed::With(output)) => return self.joined(at, &keyed, output),
                Boarding::Joined(Landed::Failed(diagnostic)) => return self.failed(at, *diagnostic),
                // Whoever ran it was stopped or cancelled, and this node perhaps was not.
                Boarding::Joined(Landed::Stopped) | Boarding::GivenUp => {
                    if let Some(end) = self.held_back(at) {
                        return end;
                    }
                }
            }
        }
    }

    /// Runs a node for all who ask for its key.
    fn fly(&self, at: usize, keyed: &Keyed, pilot: Pilot<'_>) -> End {
        // Whoever flew before may have filed it since.
        if let Some(end) = self.stored(at, keyed) {
            return end;
        }
        self.tell_miss(at, keyed);
        let ran = self.run_and_file(at, Some(keyed), self.reins(at, pilot.stop()));
        let (landed, end) = self.told_end(at, ran);
        pilot.land(landed);
        end
    }

    /// What nodes have to share to run once. An effect runs for itself: what it writes may say names, which no key has.
    fn flight_key(&self, at: usize, key: Digest) -> Digest {
        match self.nodes[at].source.node_type.nature {
            Nature::Effect => Digest::of_parts([&key.as_bytes()[..], self.nodes[at].name().as_bytes()]),
            Nature::Pure | Nature::Instant => key,
        }
    }

    /// A node whose files could not be read for a key: it runs, and nothing is filed.
    fn run_without_key(&self, at: usize) -> End {
        let ran = self.run_and_file(at, None, self.reins(at, &self.run.stop));
        self.told_end(at, ran).1
    }

    pub(super) fn keyed(&self, at: usize) -> Option<Keyed> {
        let results = self.results_above(at);
        let inputs = self.nodes[at].inputs_as(|name| results.get(name).copied())?;
        let key = self.steps[at].key_over(&inputs)?;
        Some(Keyed { key, parts: self.steps[at].parts_over(&inputs)? })
    }

    /// The node's stored result, if it has one and that may be taken.
    fn stored(&self, at: usize, keyed: &Keyed) -> Option<End> {
        let node = self.nodes[at];
        if self.steps[at].is_forced || node.source.node_type.nature == Nature::Effect {
            return None;
        }
        let store = self.run.session.store.as_ref()?;
        let found = store.find(&keyed.key)?;
        store.touch(&keyed.key);
        let (key, digest) = (keyed.key, found.digest);
        self.run.events.emit(Event::CacheHit { node: self.name(at), key, digest });
        self.tell_again(at, key, found);
        Some(End::Finished(found.digest))
    }

    /// Tells a person what was told when the stored result was made.
    fn tell_again(&self, at: usize, key: Digest, found: Found) {
        let entry = || self.run.session.store.as_ref()?.entry(&key).ok()?;
        let warnings = found.warns.then(entry).flatten().map(|entry| entry.warnings).unwrap_or_default();
        for (message, hint) in warnings {
            self.run.events.emit(Event::Warning { node: Some(self.name(at)), message, hint });
        }
    }

    fn tell_miss(&self, at: usize, keyed: &Keyed) {
        let node = self.nodes[at];
        if self.run.session.store.is_none() || node.source.node_type.nature == Nature::Effect {
            return;
        }
        let why = match self.steps[at].is_forced {
            true => self.planned[at].why.clone(),
            false => why_missing(node, Some(keyed.parts.clone()), &self.run.before),
        };
        self.run.events.emit(Event::CacheMiss { node: self.name(at), key: keyed.key, why });
    }

    /// Another node of the same key, or the same node of an earlier form of the graph, has just given this.
    fn joined(&self, at: usize, keyed: &Keyed, output: Output) -> End {
        let (key, digest) = (keyed.key, output.digest);
        self.run.events.emit(Event::CacheHit { node: self.name(at), key, digest });
        self.keep(at, output);
        End::Finished(digest)
    }

    fn keep(&self, at: usize, output: Output) {
        *self.values[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(output);
    }

    pub(super) fn run_and_file(
        &self,
        at: usize,
        keyed: Option<&Keyed>,
        reins: Reins<'_>,
    ) -> Result<(Output, f64)> {
        let node = self.nodes[at];
        let inputs = self.inputs_of(at, reins)?;
        let kind = node.source.node_type.kind.to_owned();
        let key = keyed.map(|keyed| keyed.key);
        self.run.events.emit(Event::NodeStarted { node: self.name(at), kind, key });
        let ran = self.call(at, &inputs, key, reins)?;
        drop(inputs);
        match keyed {
            Some(keyed) if self.files_are_as_planned(at) => self.file(at, keyed, &ran)?,
            Some(_) => self.tell_changed_meanwhile(at),
            None => {}
        }
        Ok((ran.output, ran.seconds))
    }

    /// Whether the files of a node still have the bytes that its key says; and those of the instant nodes above it, whose
    /// values read them when somebody needs them.
    fn files_are_as_planned(&self, at: usize) -> bool {
        let mut to_look_at = vec![at];
        let mut seen = HashSet::new();
        while let Some(at) = to_look_at.pop() {
            if !seen.insert(at) {
                continue;
            }
            let planned = self.steps[at].base.as_ref().map(|(parts, _)| &parts.files);
            let are_same = |planned: &BTreeMap<String, Digest>| {
                planned.is_empty() || files_now(self.nodes[at], self.run.session).as_ref() == Some(planned)
            };
            if !planned.is_some_and(are_same) {
                return false;
            }
            let is_instant = |at: &&usize| self.nodes[**at].source.node_type.nature == Nature::Instant;
            to_look_at.extend(self.upstreams[at].iter().filter(is_instant));
        }
        true
    }

    fn tell_changed_meanwhile(&self, at: usize) {
        let message = "a file behind it was changed while it ran; its result is not stored".to_owned();
        self.run.events.emit(Event::Warning { node: Some(self.name(at)), message, hint: None });
    }

    /// Tells how a node ended that ran here.
    fn told_end(&self, at: usize, ran: Result<(Output, f64)>) -> (Landed, End) {
        match ran {
            Ok((output, seconds)) => {
                let digest = output.digest;
                self.keep(at, output.clone());
                let node = self.name(at);
                self.run.events.emit(Event::NodeFinished { node, digest, seconds, peak_bytes: peak_bytes() });
                (Landed::With(output), End::Finished(digest))
            }
            Err(error) if error.downcast_ref::<Cancelled>().is_some() => {
                let by_hand = self.is_cancelled(at) && !self.run.stop.asked();
                let why = if by_hand { Why::Cancelled } else { Why::run_was_cancelled() };
                (Landed::Stopped, self.skipped(at, why))
            }
            Err(error) => {
                let diagnostic = Diagnostic::from_error(&error);
                (Landed::Failed(Box::new(diagnostic.clone())), self.failed(at, diagnostic))
            }
        }
    }

    fn failed(&self, at: usize, diagnostic: Diagnostic) -> End {
        let node = self.nodes[at];
        let mut diagnostic = diagnostic.node(node.name()).at(node.source.place.clone()).report();
        diagnostic.causes.extend(node.source.calls.iter().cloned());
        self.run.events.emit(Event::NodeFailed { node: self.name(at), diagnostic });
        End::Failed
    }

    /// Calls the node, which holds the device meanwhile if it needs it; a panic in it becomes its error.
    pub(super) fn call(
        &self,
        at: usize,
        inputs: &Outputs,
        key: Option<Digest>,
        reins: Reins<'_>,
    ) -> Result<Ran> {
        let node: &GraphNode<'_> = self.nodes[at];
        let session = self.run.session;
        let _device = node
            .source
            .node_type
            .holds_device
            .then(|| session.device.lock().unwrap_or_else(PoisonError::into_inner));
        let seconds = |name: &str| self.seconds_of(name);
        let purpose = Purpose::Result { key, graph: &self.run.ready.graph, seconds: &seconds };
        let (warnings, held, before) = (Mutex::default(), Mutex::default(), Mutex::default());
        let events = &self.run.events;
        let cx = Cx { session, node: node.name(), inputs, events, reins, purpose, warnings, held, before };
        let _asking = self.run.control.running(node.name());
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| node.source.node.run(&cx)));
        let output = result.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))?;
        let flops = self.run.ready.estimates.get(node.name()).map(|estimate| estimate.flops);
        let seconds = started.elapsed().saturating_sub(cx.held()).as_secs_f64();
        let all = seconds + cx.before();
        *self.seconds[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(all);
        let cost = Cost { seconds: all, peak_bytes: peak_bytes(), flops };
        let warnings = cx.warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Ran { output, warnings, cost, seconds })
    }

    /// How long a node took: here, or when its stored result was made.
    fn seconds_of(&self, name: &str) -> Option<f64> {
        let at = self.nodes.iter().position(|node| node.name() == name)?;
        let here = *self.seconds[at].lock().unwrap_or_else(PoisonError::into_inner);
        let stored =
            || Some(self.run.session.store.as_ref()?.entry(&self.keyed(at)?.key).ok()??.cost.seconds);
        here.or_else(stored)
    }

    /// Files a result. A store that nobody may write to costs running the node again next time; a full one is an error.
    fn file(&self, at: usize, keyed: &Keyed, ran: &Ran) -> Result<()> {
        let Some(store) = &self.run.session.store else { return Ok(()) };
        let node_type = self.nodes[at].source.node_type;
        let is_kept = node_type.nature == Nature::Pure;
        let files: Option<Vec<StoredFile<'_>>> = if is_kept { ran.output.to_files()? } else { None };
        self.tell_if_not_reproducible(at, keyed.key, ran.output.digest);
        let mut entry = Entry::new(keyed.parts.clone(), node_type.output, ran.output.digest, ran.cost);
        entry.warnings.clone_from(&ran.warnings);
        match store.put(entry, files.as_deref()) {
            Err(error) if is_read_only(&error) => {
                if !self.is_told_read_only.swap(true, Ordering::Relaxed) {
                    let message = format!("results cannot be stored: {error:#}");
                    self.run.events.emit(Event::Warning { node: None, message, hint: None });
                }
                Ok(())
            }
            filed => {
                filed.context(Problem::new("its result cannot be stored").hint(
                    "make room, or run with `--no-cache`; `flow store gc` takes out what is not needed",
                ))
            }
        }
    }

    /// The same key must always give the same bytes; a person who compares numbers wants to know where it does not.
    fn tell_if_not_reproducible(&self, at: usize, key: Digest, digest: Digest) {
        let before = self.run.session.store.as_ref().and_then(|store| store.find(&key));
        if before.is_some_and(|before| before.digest != digest) {
            let message = "it gave another result than before from the same inputs".to_owned();
            self.run.events.emit(Event::Warning { node: Some(self.name(at)), message, hint: None });
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> anyhow::Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text =
        text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message");
    Problem::new(format!("the node panicked: {text}"))
        .hint("this is a mistake in Flow; please report it with the graph")
        .into()
}

/// The most memory that this process has held so far.
#[cfg(unix)]
pub(super) fn peak_bytes() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let resident = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    // Linux counts in KiB, macOS in bytes.
    Some(if cfg!(target_os = "macos") { resident } else { resident * 1024 })
}

#[cfg(not(unix))]
pub(super) fn peak_bytes() -> Option<u64> {
    None
}

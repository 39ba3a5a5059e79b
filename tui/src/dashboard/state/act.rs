//! What a key does.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Overlay, Scope, Shape, State, Stopping, View};
use crate::dashboard::keys::{Action, binding, written};
use crate::dashboard::message::Effect;

/// The choices of how to leave.
pub const CHOICES: [&str; 3] = ["stop after the next checkpoint", "stop now", "go on"];

impl State {
    pub(super) fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        if key.modifiers.contains(KeyModifiers::ALT) {
            // Over a slow line, Esc and the key after it arrive together, which is how terminals send Alt.
            let mut effects = self.key(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
            let modifiers = key.modifiers.difference(KeyModifiers::ALT);
            effects.extend(self.key(KeyEvent { modifiers, ..key }));
            return effects;
        }
        self.generation += 1;
        self.notice = None;
        let found = binding(&key);
        let action = found.map(|binding| binding.action);
        if self.find.is_typed && action != Some(Action::Interrupt) {
            self.type_search(key);
            return Vec::new();
        }
        let Some(found) = found else {
            self.say(format!("`{}` does nothing; ? lists the keys that do", written(&key)));
            return Vec::new();
        };
        if let Some(overlay) = self.overlay {
            return self.act_over(overlay, found.action);
        }
        if !found.works_in(self.view) {
            let view = self.view.title();
            self.say(format!("`{}` does nothing in {view}: {}", found.shown, found.says));
            return Vec::new();
        }
        self.act(found.action)
    }

    /// What a key does while something lies over the view.
    fn act_over(&mut self, overlay: Overlay, action: Action) -> Vec<Effect> {
        let half = (self.page() / 2).max(1) as isize;
        match action {
            Action::Interrupt => return self.interrupt(),
            Action::Suspend => return vec![Effect::Suspend],
            Action::Down => self.move_over(overlay, 1),
            Action::Up => self.move_over(overlay, -1),
            Action::HalfDown => self.move_over(overlay, half),
            Action::HalfUp => self.move_over(overlay, -half),
            Action::First => self.move_over(overlay, isize::MIN),
            Action::Last => self.move_over(overlay, isize::MAX),
            Action::Open => {
                self.overlay = None;
                if let Overlay::Quit(at) = overlay {
                    return self.choose(at);
                }
            }
            // The run may have come to its end while somebody was choosing.
            Action::Quit if matches!(overlay, Overlay::Quit(_)) && !self.can_stop() => {
                return vec![Effect::Leave];
            }
            Action::Back | Action::Quit => self.overlay = None,
            Action::Show(_) | Action::NextView | Action::PreviousView
                if !matches!(overlay, Overlay::Quit(_)) =>
            {
                self.overlay = None;
                return self.act(action);
            }
            Action::Help if matches!(overlay, Overlay::Help(_)) => self.overlay = None,
            Action::Diff if matches!(overlay, Overlay::Diff(_)) => self.overlay = None,
            _ => self.say("Esc closes this first"),
        }
        Vec::new()
    }

    fn move_over(&mut self, overlay: Overlay, by: isize) {
        let moved = |at: usize, count: usize| at.saturating_add_signed(by).min(count.saturating_sub(1));
        let page = self.page();
        let lines = |lines: usize| lines.saturating_sub(page) + 1;
        self.overlay = Some(match overlay {
            Overlay::Help(at) => Overlay::Help(moved(at, lines(crate::dashboard::view::help_lines(self)))),
            Overlay::Diff(at) => Overlay::Diff(moved(at, lines(crate::dashboard::view::diff_lines(self)))),
            Overlay::Quit(at) => Overlay::Quit(moved(at, CHOICES.len())),
        });
    }

    fn act(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Show(view) => self.show(view),
            Action::NextView => self.show(self.view.shifted(1)),
            Action::PreviousView => self.show(self.view.shifted(View::ALL.len() - 1)),
            Action::Open => self.open(),
            Action::Back => self.back(),
            Action::Find => self.find.is_typed = true,
            Action::NextFound => self.search(1),
            Action::PreviousFound => self.search(-1),
            Action::Larger => self.zoom(true),
            Action::Smaller => self.zoom(false),
            Action::Fold => self.fold(),
            Action::Mark => self.mark(),
            Action::Level => self.level(),
            Action::Follow => self.follow_or_not(),
            Action::Freeze => self.hold_or_go_on(),
            Action::Diff => self.diff(),
            Action::Help => self.overlay = Some(Overlay::Help(0)),
            Action::Quit => return self.quit(),
            Action::Interrupt => return self.interrupt(),
            Action::Suspend => return vec![Effect::Suspend],
            Action::Drop => return vec![Effect::Drop],
            Action::Mouse => return self.mouse_on_or_off(),
            Action::Edit | Action::Copy => return self.take_out(action),
            action if self.step(action) => {}
            action => return self.steer(action),
        }
        Vec::new()
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.find.is_typed = false;
        if view == View::Graph {
            self.bring_into_sight();
        }
    }

    /// Opens what is selected.
    pub(super) fn open(&mut self) {
        match self.view {
            View::Graph if self.selected_group().is_some() => self.fold(),
            View::Pictures if self.run().pictures.is_empty() => self.say("there are no pictures yet"),
            View::Pictures => self.open_picture(),
            _ => match self.here().and_then(|node| self.run().find(&node.raw_name)) {
                Some(at) => {
                    self.select(at);
                    self.show(View::Node);
                }
                None => self.say("there is no node to open here"),
            },
        }
    }

    fn open_picture(&mut self) {
        self.pictures.shape = match self.pictures.shape {
            Shape::Sheet if self.pictures.marks.len() == 2 => Shape::Pair,
            Shape::Sheet => Shape::Single,
            Shape::Single | Shape::Pair => Shape::Sheet,
        };
    }

    fn back(&mut self) {
        match self.view {
            _ if self.find.is_on() => self.find.clear(),
            View::Pictures if self.pictures.shape != Shape::Sheet => self.pictures.shape = Shape::Sheet,
            View::Pictures if !self.pictures.marks.is_empty() => self.pictures.marks.clear(),
            View::Graph => self.say("this is the graph: q leaves, ? helps"),
            _ => self.show(View::Graph),
        }
    }

    fn fold(&mut self) {
        let group = self.selected().and_then(|at| self.map().group_of(at)).map(|group| group.name.clone());
        let Some(group) = group else {
            return self.say("this node is in no group: groups are of nodes whose names differ in a number, or that read the same");
        };
        if !self.graph.turned.remove(&group) {
            self.graph.turned.insert(group);
        }
        self.graph.follows = false;
        self.lay_out();
    }

    fn zoom(&mut self, is_larger: bool) {
        match self.view {
            View::Graph => {
                let zoom = self.map().zoom;
                match if is_larger { zoom.larger() } else { zoom.smaller() } {
                    Some(zoom) => {
                        self.graph.zoom = Some(zoom);
                        self.lay_out();
                    }
                    None => self.say(if is_larger {
                        "nodes are at their largest"
                    } else {
                        "nodes are at their smallest"
                    }),
                }
            }
            View::Training => {
                let halvings = self.curves.halvings;
                self.curves.halvings =
                    if is_larger { (halvings + 1).min(8) } else { halvings.saturating_sub(1) };
                match self.curves.halvings {
                    0 => self.say("all steps"),
                    halvings => self.say(format!(
                        "the last {} of the steps",
                        ["half", "quarter", "eighth"]
                            .get(halvings as usize - 1)
                            .map_or(format!("1/{}", 1 << halvings), |word| (*word).to_owned())
                    )),
                }
            }
            _ => {
                let width = self.sheet(self.body()).width;
                let wanted = if is_larger { width.saturating_add(8) } else { width.saturating_sub(6) };
                self.pictures.width = Some(wanted.clamp(14, 200));
            }
        }
    }

    fn mark(&mut self) {
        let Some(path) = self.run().pictures.get(self.picture_at()).map(|picture| picture.path.clone())
        else {
            return self.say("there are no pictures yet");
        };
        self.pictures.at = self.picture_at();
        self.pictures.follows = false;
        let marks = &mut self.pictures.marks;
        match marks.iter().position(|mark| *mark == path) {
            Some(at) => {
                marks.remove(at);
            }
            None => {
                if marks.len() == 2 {
                    marks.remove(0);
                }
                marks.push(path);
            }
        }
        self.say(match self.pictures.marks.len() {
            0 => "no picture is marked",
            1 => "one is marked: mark another, and Enter shows them side by side",
            _ => "two are marked: Enter shows them side by side",
        });
    }

    fn level(&mut self) {
        self.logs.level = self.logs.level.next();
        self.logs.at = 0;
        self.logs.follows = true;
        self.say(format!("the log shows {}", self.logs.level.says()));
    }

    fn follow_or_not(&mut self) {
        let follows = match self.view {
            View::Logs => &mut self.logs.follows,
            View::Pictures => &mut self.pictures.follows,
            _ => &mut self.graph.follows,
        };
        *follows = !*follows;
        let follows = *follows;
        self.say(match (self.view, follows) {
            (View::Logs, true) => "follows the end of the log",
            (View::Pictures, true) => "follows the newest picture",
            (_, true) => "follows what starts",
            (_, false) => "follows no more",
        });
        self.follow();
    }

    fn hold_or_go_on(&mut self) {
        match self.held.take() {
            Some(_) => {
                self.lay_out();
                self.say("the screen goes on");
            }
            None => {
                self.held = Some(Box::new(self.live.clone()));
                self.say("the screen is held still, and the run goes on; z again shows what has happened");
            }
        }
    }

    fn diff(&mut self) {
        match self.run().reload {
            Some(_) => self.overlay = Some(Overlay::Diff(0)),
            None => self.say("no saved edit has taken effect since the run started"),
        }
    }

    fn mouse_on_or_off(&mut self) -> Vec<Effect> {
        self.has_mouse = !self.has_mouse;
        self.say(match self.has_mouse {
            true => "the mouse is on: click and wheel; m turns it off",
            false => "the mouse is off: the terminal selects text",
        });
        vec![Effect::Mouse(self.has_mouse)]
    }

    /// Whether there is something of this process that runs.
    pub fn can_stop(&self) -> bool {
        self.scope == Scope::Own && !self.live.run.is_over() && !self.live.run.waits_for_a_graph()
    }

    fn quit(&mut self) -> Vec<Effect> {
        if !self.can_stop() {
            return vec![Effect::Leave];
        }
        self.overlay = Some(Overlay::Quit(0));
        Vec::new()
    }

    fn choose(&mut self, at: usize) -> Vec<Effect> {
        match at {
            0 | 1 if !self.can_stop() => vec![Effect::Leave],
            0 => self.stop(Stopping::AfterCheckpoint),
            1 => self.stop(Stopping::Now),
            _ => Vec::new(),
        }
    }

    fn interrupt(&mut self) -> Vec<Effect> {
        self.overlay = None;
        match self.stopping {
            _ if !self.can_stop() => vec![Effect::Leave],
            Stopping::No => self.stop(Stopping::AfterCheckpoint),
            _ => self.stop(Stopping::Now),
        }
    }

    fn stop(&mut self, stopping: Stopping) -> Vec<Effect> {
        self.stopping = stopping;
        if stopping == Stopping::Now {
            self.say("stops at the next step");
            return vec![Effect::StopNow];
        }
        self.say("stops after the next checkpoint; Ctrl-C again: now");
        vec![Effect::StopAfterCheckpoint]
    }
}

//! What a person asks of the run, and why it may not be.

use std::path::PathBuf;

use super::node::{Node, Phase};
use super::{Scope, State, View};
use crate::dashboard::keys::Action;
use crate::dashboard::message::Effect;

impl State {
    /// Why nothing can be asked of the run, if so.
    fn refusal(&self) -> Option<&'static str> {
        match self.scope {
            Scope::Attached => Some("this run is another process's: it can only be watched"),
            Scope::Recorded => Some("this run was recorded: it can only be looked at"),
            Scope::Own if self.live.run.is_at_end => Some("this run is over"),
            Scope::Own => None,
        }
    }

    pub(super) fn steer(&mut self, action: Action) -> Vec<Effect> {
        let asked = match self.refusal() {
            Some(refusal) => Err(refusal.to_owned()),
            None => self.asked(action),
        };
        match asked {
            Ok((effect, says)) => {
                self.say(says);
                vec![effect]
            }
            Err(why) => {
                self.say(why);
                Vec::new()
            }
        }
    }

    fn asked(&self, action: Action) -> Result<(Effect, String), String> {
        match action {
            Action::Pause => self.pause(),
            Action::RunFailedAgain => self.run_failed_again(),
            Action::Cancel => self.cancel(),
            Action::RunAgain => self.run_again(),
            Action::Checkpoint => {
                let node = self.training_here("save a checkpoint")?;
                Ok((
                    Effect::Checkpoint(node.clone()),
                    format!("asked `{node}` for a checkpoint after its next step"),
                ))
            }
            Action::Sample => {
                let node = self.training_here("draw a preview")?;
                Ok((
                    Effect::Sample(node.clone()),
                    format!("asked `{node}` for a preview after its next step"),
                ))
            }
            _ => Err("that key does nothing".to_owned()),
        }
    }

    fn pause(&self) -> Result<(Effect, String), String> {
        let run = &self.live.run;
        match run.is_paused {
            true => Ok((Effect::Pause(false), "goes on".to_owned())),
            false if run.is_over() => Err("nothing runs that could be held".to_owned()),
            false => {
                Ok((Effect::Pause(true), "every node is held at its next step; p lets them go on".to_owned()))
            }
        }
    }

    fn run_failed_again(&self) -> Result<(Effect, String), String> {
        let run = &self.live.run;
        match run.count(Phase::Failed) + run.count(Phase::Skipped) {
            0 => Err("nothing has failed or was stopped".to_owned()),
            _ => Ok((Effect::RunAgain(None), "runs again what failed or was stopped".to_owned())),
        }
    }

    /// The node that keys act on, as it is by now.
    fn one(&self) -> Result<&Node, String> {
        if self.view == View::Graph
            && let Some(group) = self.selected_group()
        {
            return Err(format!("these are {} nodes: o unfolds them, to choose one", group.members.len()));
        }
        let name = self.here().map(|node| node.raw_name.clone());
        name.and_then(|name| self.live.run.node(&name)).ok_or_else(|| "no node is selected here".to_owned())
    }

    fn cancel(&self) -> Result<(Effect, String), String> {
        let node = self.one()?;
        match node.phase {
            phase if phase.is_over() => Err(format!("`{}` is {} already", node.name, phase.word())),
            _ => Ok((
                Effect::Cancel(node.raw_name.to_string()),
                format!("asked `{}` to stop; what reads it is skipped", node.name),
            )),
        }
    }

    fn run_again(&self) -> Result<(Effect, String), String> {
        let node = self.one()?;
        match node.phase {
            Phase::Running => {
                Err(format!("`{}` runs: it can run again when it is done, or x stops it", node.name))
            }
            Phase::Waiting | Phase::Queued => Err(format!("`{}` is going to run anyway", node.name)),
            _ => Ok((
                Effect::RunAgain(Some(node.raw_name.to_string())),
                format!("asked `{}` to run again, and what depends on it", node.name),
            )),
        }
    }

    /// The name of the selected node if it is a training that runs: no other node listens.
    fn training_here(&self, to_do: &str) -> Result<String, String> {
        let node = self.one()?;
        match node.phase {
            Phase::Running if node.trains() => Ok(node.raw_name.to_string()),
            Phase::Running => {
                Err(format!("only a training can {to_do}, and `{}` has told of no step of one", node.name))
            }
            phase => {
                Err(format!("only a training that runs can {to_do}, and `{}` is {}", node.name, told(phase)))
            }
        }
    }

    /// Whether a key would do something here and now, so that it is worth a word in the last line.
    pub fn offers(&self, action: Action) -> bool {
        match action {
            Action::Fold => self.selected().and_then(|at| self.map().group_of(at)).is_some(),
            Action::Diff => self.run().reload.is_some(),
            Action::Mark => self.run().pictures.len() > 1,
            Action::Pause
            | Action::Cancel
            | Action::RunAgain
            | Action::RunFailedAgain
            | Action::Checkpoint
            | Action::Sample => self.refusal().is_none() && self.asked(action).is_ok(),
            _ => true,
        }
    }

    /// What is taken out of the dashboard: to an editor, or to the clipboard.
    pub(super) fn take_out(&mut self, action: Action) -> Vec<Effect> {
        let taken = match action {
            Action::Edit => self.place().map(|(file, line, column)| Effect::Edit { file, line, column }),
            _ => self.copied().map(Effect::Copy).ok_or_else(|| "there is nothing to copy here".to_owned()),
        };
        match taken {
            Ok(effect) => {
                if effect_copies(&effect) {
                    self.say(format!("copied {}", self.copied_name()));
                }
                vec![effect]
            }
            Err(why) => {
                self.say(why);
                Vec::new()
            }
        }
    }

    /// The place of what is selected, in the graph's text.
    fn place(&self) -> Result<(PathBuf, usize, usize), String> {
        let run = self.run();
        let problem = self.problem().filter(|_| self.view == View::Problems);
        let of_problem = problem.and_then(|problem| problem.place.clone());
        let of_node = || {
            let written = self.here()?.written.as_ref()?;
            Some((written.file.clone(), written.line, written.column))
        };
        let (file, line, column) = of_problem.or_else(of_node).unwrap_or_else(|| (run.graph.clone(), 1, 1));
        match file {
            file if file.is_empty() => Err("it is not known where the graph is written".to_owned()),
            file if file.starts_with("--") => {
                Err(format!("this was given on the command line, with `{file}`"))
            }
            file if file == run.graph && !run.file.is_empty() => Ok((PathBuf::from(&run.file), line, column)),
            file => Ok((PathBuf::from(file), line, column)),
        }
    }

    /// What is selected, as a text.
    fn copied(&self) -> Option<String> {
        match self.view {
            View::Pictures => {
                let picture = self.run().pictures.get(self.picture_at())?;
                Some(picture.path.display().to_string())
            }
            View::Logs => {
                let line = self.log_line()?;
                let node = line.node.as_ref().map(|node| format!("{node}: ")).unwrap_or_default();
                Some(format!("{node}{}", line.text))
            }
            View::Problems => Some(self.problem()?.text()),
            _ => {
                let node = self.here()?;
                let written =
                    node.written.as_ref().map(|written| format!("\"{}\": {}", node.raw_name, written.text));
                Some(written.unwrap_or_else(|| node.raw_name.to_string()))
            }
        }
    }

    fn copied_name(&self) -> &'static str {
        match self.view {
            View::Pictures => "the path of the picture",
            View::Logs => "the line",
            View::Problems => "the problem",
            _ => "the node as it is written",
        }
    }
}

fn effect_copies(effect: &Effect) -> bool {
    matches!(effect, Effect::Copy(_))
}

fn told(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Running => "running",
        phase => phase.word(),
    }
}

//! What a node that has not started waits for.

use super::node::{Node, Phase};
use super::run::Run;

/// So many names are told; the others are counted.
const MOST_NAMES: usize = 3;

impl Run {
    /// What a node waits for, in words; nothing if it has started, or will not.
    pub fn awaited(&self, node: &Node) -> Option<String> {
        if self.is_at_end || self.outcome.is_some() {
            return None;
        }
        match node.phase {
            Phase::Waiting | Phase::Queued if self.is_paused => Some("the run to go on: p".to_owned()),
            Phase::Waiting => Some(self.unread(node).unwrap_or_else(|| self.turn())),
            Phase::Queued => Some(self.turn()),
            _ => None,
        }
    }

    /// What it reads that is not there yet.
    fn unread(&self, node: &Node) -> Option<String> {
        let inputs = node.inputs.iter().filter_map(|&at| self.nodes.get(at));
        listed(inputs.filter(|input| !input.phase.is_over()))
    }

    /// What has the place of one that could run.
    fn turn(&self) -> String {
        match listed(self.running()) {
            Some(names) => format!("its turn after {names}"),
            None => "its turn".to_owned(),
        }
    }
}

/// The first names of some nodes, and how many more there are.
fn listed<'a>(nodes: impl Iterator<Item = &'a Node>) -> Option<String> {
    let names: Vec<&str> = nodes.map(|node| &*node.name).collect();
    let told = names.get(..MOST_NAMES.min(names.len()))?.join(", ");
    match names.len() {
        0 => None,
        count if count <= MOST_NAMES => Some(told),
        count => Some(format!("{told} and {} more", count - MOST_NAMES)),
    }
}

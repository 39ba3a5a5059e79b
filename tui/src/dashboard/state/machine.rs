//! How the machine is and was, and what is kept in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::dashboard::Resources;

/// How many measurements a curve shows at most.
const MOST_SAMPLES: usize = 240;
/// More things than this are not listed.
const MOST_THINGS: usize = 1000;

/// How the machine is, and what it was like lately.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// How it is; nothing is known until it was measured.
    pub now: Option<Resources>,
    /// Share of all processors that was busy, in per mille, the newest last.
    pub processors: VecDeque<u64>,
    /// Memory of the process in bytes, the newest last.
    pub memory: VecDeque<u64>,
    /// Per card, the share that was busy, in per mille, the newest last.
    pub cards: Vec<VecDeque<u64>>,
    /// What is kept in memory for other nodes, the newest last.
    pub kept: VecDeque<Kept>,
    /// How much was let go so far.
    pub evicted: usize,
}

/// Something that is kept in memory for other nodes.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What it is.
    pub what: String,
    /// The memory that it takes.
    pub bytes: u64,
    /// How long it took to make.
    pub seconds: f64,
    /// The node that it was made for.
    pub node: Arc<str>,
}

impl Machine {
    /// Takes in a measurement.
    pub fn measure(&mut self, resources: Resources) {
        let count = resources.processors.len().max(1) as f32;
        let busy = resources.processors.iter().sum::<f32>() / count;
        remember(&mut self.processors, per_mille(busy));
        remember(&mut self.memory, resources.memory);
        self.cards.resize_with(resources.cards.len(), VecDeque::new);
        for (samples, card) in self.cards.iter_mut().zip(&resources.cards) {
            remember(samples, per_mille(card.busy));
        }
        self.now = Some(resources);
    }

    /// Something is kept from now on.
    pub fn keep(&mut self, kept: Kept) {
        self.kept.retain(|other| other.what != kept.what);
        if self.kept.len() == MOST_THINGS {
            self.kept.pop_front();
        }
        self.kept.push_back(kept);
    }

    /// Something is kept no more.
    pub fn let_go(&mut self, what: &str) {
        self.kept.retain(|kept| kept.what != what);
        self.evicted += 1;
    }

    /// Memory of all that is kept.
    pub fn kept_bytes(&self) -> u64 {
        self.kept.iter().map(|kept| kept.bytes).sum()
    }
}

fn per_mille(share: f32) -> u64 {
    (share.clamp(0.0, 1.0) * 1000.0) as u64
}

fn remember(samples: &mut VecDeque<u64>, sample: u64) {
    if samples.len() == MOST_SAMPLES {
        samples.pop_front();
    }
    samples.push_back(sample);
}

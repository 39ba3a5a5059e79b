//! Networks that outlive the node that loaded them, under a byte budget: the least recently used go first.
//!
//! Nothing here knows what a network is.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flow_engine::{Digest, Result, Settings};

use crate::sdxl::Part;

/// Bytes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

/// What tells one network from another: recipe, part, settings.
pub type Key = (Digest, Part, Settings);

/// Kept networks.
#[derive(Default)]
pub struct Kept {
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    networks: HashMap<Key, Entry>,
    /// Counts the uses.
    clock: u64,
}

struct Entry {
    network: Arc<dyn Any + Send + Sync>,
    size: Size,
    used: u64,
}

impl Kept {
    /// The network of this key, or the one that `make` gives, which is then kept. Before it is made, others are let
    /// go until all kept ones fit into `budget` with it; one that is larger than the budget is kept alone. Who holds
    /// a network goes on holding it.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_make<T: Send + Sync + 'static>(
        &self,
        key: Key,
        size: Size,
        budget: u64,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        // Nodes that load hold the device, so nobody waits long for this lock.
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.clock += 1;
        let now = shelf.clock;
        if let Some(entry) = shelf.networks.get_mut(&key)
            && let Ok(network) = Arc::clone(&entry.network).downcast()
        {
            entry.used = now;
            return Ok(network);
        }
        shelf.make_room(size, budget);
        let network = Arc::new(make()?);
        shelf.networks.insert(key, Entry { network: network.clone(), size, used: now });
        Ok(network)
    }
}

impl Shelf {
    fn make_room(&mut self, size: Size, budget: u64) {
        let total =
            |networks: &HashMap<Key, Entry>| networks.values().map(|entry| entry.size.0).sum::<usize>();
        while total(&self.networks) as u64 + size.0 as u64 > budget {
            let oldest = self.networks.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            self.networks.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use flow_engine::{Device, Dtype};

    use super::*;

    fn key(name: &str) -> Key {
        let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
        (Digest::of(name.as_bytes()), Part::Unet, settings)
    }

    /// Asks for networks of 10 bytes under a budget; which of them had to be made.
    fn made(kept: &Kept, names: &[&str], budget: u64) -> Vec<String> {
        let mut made = Vec::new();
        for name in names {
            let make = || {
                made.push((*name).to_owned());
                Ok((*name).to_owned())
            };
            let network = kept.get_or_make(key(name), Size(10), budget, make).expect("a network");
            assert_eq!(*network, **name);
        }
        made
    }

    #[test]
    fn a_network_is_made_once() {
        assert_eq!(made(&Kept::default(), &["a", "a", "b", "a"], 20), ["a", "b"]);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        assert_eq!(made(&Kept::default(), &["a", "b", "a", "c", "a", "b"], 20), ["a", "b", "c", "b"]);
    }

    #[test]
    fn a_network_larger_than_the_budget_is_kept_alone() {
        assert_eq!(made(&Kept::default(), &["a", "a", "b", "a"], 5), ["a", "b", "a"]);
    }

    #[test]
    fn a_network_that_cannot_be_made_leaves_no_trace() {
        let kept = Kept::default();
        let failed = kept.get_or_make::<String>(key("a"), Size(1), 9, || anyhow::bail!("no file"));
        assert!(failed.is_err());
        assert_eq!(made(&kept, &["a"], 9), ["a"]);
    }
}

//! What outlives the node that made it, under a byte budget: networks, encoded prompts. The least recently used go
//! first.
//!
//! Nothing here knows what it keeps.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use flow_engine::{Cx, Digest, Result, Settings};

/// Bytes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

/// What tells one thing from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// What sort of thing it is.
    pub sort: &'static str,
    /// Everything else that decides it.
    pub recipe: Digest,
    /// The run's settings.
    pub settings: Settings,
}

/// Something to keep.
#[derive(Debug, Clone)]
pub struct Item {
    /// What tells it from others.
    pub key: Key,
    /// What a person calls it.
    pub what: String,
    /// The memory that it needs as soon as it is being made.
    pub room: Size,
}

/// Whose memory it is, and who hears what becomes of it.
pub trait Owner {
    /// The bytes that all kept things may take.
    fn budget(&self) -> u64;
    /// Something was made, and is kept.
    fn kept(&self, what: &str, size: Size, seconds: f64);
    /// Something was let go.
    fn evicted(&self, what: &str, size: Size);
}

impl Owner for Cx<'_> {
    fn budget(&self) -> u64 {
        self.memory()
    }

    fn kept(&self, what: &str, size: Size, seconds: f64) {
        Cx::kept(self, what, size.0 as u64, seconds);
    }

    fn evicted(&self, what: &str, size: Size) {
        Cx::evicted(self, what, size.0 as u64);
    }
}

/// Kept things.
#[derive(Default)]
pub struct Kept {
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    entries: HashMap<Key, Entry>,
    /// Counts the uses.
    clock: u64,
}

struct Entry {
    thing: Arc<dyn Any + Send + Sync>,
    what: String,
    size: Size,
    used: u64,
}

impl Kept {
    /// The thing of this key, or the one that `make` gives with its size, which is then kept. Before it is made, others
    /// are let go until all kept ones fit into the budget with it; one that is larger than the budget is kept alone. Who
    /// holds a thing goes on holding it.
    ///
    /// What `make` makes may itself ask for kept things. Nodes that make anything large hold the device, so nothing is
    /// made twice.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_make<T: Send + Sync + 'static>(
        &self,
        item: Item,
        owner: &dyn Owner,
        make: impl FnOnce() -> Result<(T, Size)>,
    ) -> Result<Arc<T>> {
        if let Some(thing) = self.find(&item.key) {
            return Ok(thing);
        }
        self.shelf().make_room(item.room, owner);
        let started = Instant::now();
        let (thing, size) = make()?;
        let (thing, seconds) = (Arc::new(thing), started.elapsed().as_secs_f64());
        let mut shelf = self.shelf();
        shelf.make_room(size, owner); // `make` may have had more kept
        owner.kept(&item.what, size, seconds);
        shelf.put(item, size, thing.clone());
        Ok(thing)
    }

    /// Lets others go until all kept things fit into the budget beside something of this size, which is not kept here.
    pub fn make_room(&self, size: Size, owner: &dyn Owner) {
        self.shelf().make_room(size, owner);
    }

    /// The thing of this key, if it is kept.
    fn find<T: Send + Sync + 'static>(&self, key: &Key) -> Option<Arc<T>> {
        let mut shelf = self.shelf();
        shelf.clock += 1;
        let now = shelf.clock;
        let entry = shelf.entries.get_mut(key)?;
        let thing = Arc::clone(&entry.thing).downcast().ok()?;
        entry.used = now;
        Some(thing)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn put(&mut self, Item { key, what, .. }: Item, size: Size, thing: Arc<dyn Any + Send + Sync>) {
        self.clock += 1;
        self.entries.insert(key, Entry { thing, what, size, used: self.clock });
    }

    fn make_room(&mut self, size: Size, owner: &dyn Owner) {
        let total = |entries: &HashMap<Key, Entry>| entries.values().map(|entry| entry.size.0).sum::<usize>();
        while total(&self.entries) as u64 + size.0 as u64 > owner.budget() {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let Some(entry) = oldest.and_then(|oldest| self.entries.remove(&oldest)) else { return };
            owner.evicted(&entry.what, entry.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use flow_engine::{Device, Dtype};

    use super::*;

    /// Some memory, and what was told of it.
    struct House {
        budget: u64,
        told: RefCell<Vec<String>>,
    }

    impl House {
        fn of(budget: u64) -> Self {
            Self { budget, told: RefCell::default() }
        }

        fn told(self) -> String {
            self.told.into_inner().join(" ")
        }
    }

    impl Owner for House {
        fn budget(&self) -> u64 {
            self.budget
        }

        fn kept(&self, what: &str, Size(size): Size, seconds: f64) {
            assert!(seconds >= 0.0);
            self.told.borrow_mut().push(format!("+{what}{size}"));
        }

        fn evicted(&self, what: &str, Size(size): Size) {
            self.told.borrow_mut().push(format!("-{what}{size}"));
        }
    }

    fn item(name: &str, room: usize) -> Item {
        let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
        let key = Key { sort: "thing", recipe: Digest::of(name.as_bytes()), settings };
        Item { key, what: name.to_owned(), room: Size(room) }
    }

    /// Asks for things of 10 bytes under a budget; what was told.
    fn told(kept: &Kept, names: &[&str], budget: u64) -> String {
        let house = House::of(budget);
        for name in names {
            let thing = kept.get_or_make(item(name, 10), &house, || Ok(((*name).to_owned(), Size(10))));
            let thing = thing.expect("a thing");
            assert_eq!(*thing, **name);
        }
        house.told()
    }

    #[test]
    fn a_thing_is_made_once_and_told_of_once() {
        assert_eq!(told(&Kept::default(), &["a", "a", "b", "a"], 20), "+a10 +b10");
    }

    #[test]
    fn the_least_recently_used_goes_first_and_that_is_told() {
        let expected = "+a10 +b10 -b10 +c10 -c10 +b10";
        assert_eq!(told(&Kept::default(), &["a", "b", "a", "c", "a", "b"], 20), expected);
    }

    #[test]
    fn a_thing_larger_than_the_budget_is_kept_alone() {
        assert_eq!(told(&Kept::default(), &["a", "a", "b", "a"], 5), "+a10 -a10 +b10 -b10 +a10");
    }

    #[test]
    fn a_thing_that_cannot_be_made_leaves_no_trace() {
        let (kept, house) = (Kept::default(), House::of(9));
        let failed = kept.get_or_make::<String>(item("a", 1), &house, || anyhow::bail!("no file"));
        assert!(failed.is_err());
        assert_eq!(house.told(), "");
        assert_eq!(told(&kept, &["a"], 9), "+a10");
    }

    #[test]
    fn what_is_made_may_ask_for_what_is_kept() {
        let (kept, house) = (Kept::default(), House::of(14));
        let encoder = || kept.get_or_make(item("encoder", 10), &house, || Ok((1, Size(10))));
        // Its size is known only when it is there.
        let prompt = || kept.get_or_make(item("prompt", 0), &house, || Ok((*encoder()? + 1, Size(4))));
        assert_eq!([*prompt().unwrap(), *prompt().unwrap()], [2, 2]);
        assert_eq!(house.told(), "+encoder10 +prompt4");
    }

    #[test]
    fn things_of_two_sorts_and_one_recipe_are_two() {
        let (kept, house) = (Kept::default(), House::of(9));
        let other = Item { key: Key { sort: "other", ..item("a", 1).key }, ..item("A", 1) };
        assert_eq!(*kept.get_or_make(item("a", 1), &house, || Ok((1, Size(1)))).unwrap(), 1);
        assert_eq!(*kept.get_or_make(other, &house, || Ok((2, Size(1)))).unwrap(), 2);
        assert_eq!(house.told(), "+a1 +A1");
    }
}

//! The thread that decodes and encodes pictures: one, so that the run keeps its processors.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Context as _;
use flow_engine::Result;
use image::DynamicImage;
use ratatui::layout::Size;
use ratatui_image::Resize;
use ratatui_image::picker::Picker;

use super::asking::Way;
use super::blocks::Blocks;
use super::cache::{Cache, Key};
use super::reading::{Stamp, read, shrunk};
use super::{Shown, reading};

/// What waits beyond that is given up, and asked for again if it is still to be painted.
const MOST_WAITING: usize = 256;

/// Works until it is dropped.
pub struct Worker {
    waiting: Arc<Waiting>,
    cache: Arc<Cache>,
}

#[derive(Default)]
struct Waiting {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    keys: VecDeque<Key>,
    is_over: bool,
}

impl Worker {
    /// Fills the cache with what is asked for, and calls `ready` when there is something new in it.
    ///
    /// # Errors
    /// A system that gives no thread.
    pub fn start(way: Way, cache: Arc<Cache>, ready: impl Fn() + Send + 'static) -> Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let this = Self { waiting: Arc::clone(&waiting), cache: Arc::clone(&cache) };
        let work = move || {
            while let Some(key) = waiting.next() {
                let new = look(&key, &way, &cache);
                let is_new = new.is_some();
                cache.looked(&key, new);
                if is_new {
                    ready();
                }
            }
        };
        thread::Builder::new().name("pictures".into()).spawn(work).context("cannot read pictures")?;
        Ok(this)
    }

    /// Has somebody look at a file. What is asked for last comes first: it is what is on the screen.
    pub fn look(&self, key: Key) {
        let mut jobs = self.waiting.lock();
        jobs.keys.push_back(key);
        if jobs.keys.len() > MOST_WAITING
            && let Some(key) = jobs.keys.pop_front()
        {
            self.cache.give_up(&key);
        }
        drop(jobs);
        self.waiting.changed.notify_one();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.waiting.lock().is_over = true;
        self.waiting.changed.notify_one();
    }
}

impl Waiting {
    /// What to do next; none at the end.
    fn next(&self) -> Option<Key> {
        let mut jobs = self.lock();
        loop {
            if jobs.is_over {
                return None;
            }
            if let Some(key) = jobs.keys.pop_back() {
                return Some(key);
            }
            jobs = self.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The picture, if the file is another than the one that is shown.
fn look(key: &Key, way: &Way, cache: &Cache) -> Option<(Option<Stamp>, Shown)> {
    let stamp = Stamp::of(&key.path);
    if cache.stamp(key) == Some(stamp) {
        return None;
    }
    let shown = read(&key.path).and_then(|image| encoded(image, key.size, way));
    Some((stamp, shown.unwrap_or_else(Shown::Broken)))
}

fn encoded(image: DynamicImage, area: Size, way: &Way) -> Result<Shown, String> {
    match way {
        Way::Blocks(depth) => Ok(Shown::Blocks(Blocks::new(image, area, *depth))),
        Way::Pixels(picker) => pixels(image, area, picker),
        Way::None(why) => Err(why.clone()),
    }
}

fn pixels(image: DynamicImage, area: Size, picker: &Picker) -> Result<Shown, String> {
    let font = picker.font_size();
    let (width, height) =
        (u32::from(area.width) * u32::from(font.width), u32::from(area.height) * u32::from(font.height));
    let resize = Resize::Scale(Some(reading::filter(&image, width, height)));
    let image = shrunk(image, width, height);
    let encoded = picker.new_protocol(image, area, resize);
    encoded
        .map(|protocol| Shown::Pixels(Box::new(protocol)))
        .map_err(|error| format!("cannot be shown: {error}"))
}

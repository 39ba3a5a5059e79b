//! Picture files on the screen: decoded, made small and encoded on a thread of their own, and kept for a while.
//!
//! What is drawn never waits for a file. An area shows the picture if it is there, that it is on its way if not, or why
//! it cannot be shown.

mod asking;
mod blocks;
mod cache;
mod colours;
mod reading;
mod worker;

use std::path::Path;
use std::sync::Arc;

use flow_engine::Result;
use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Rect, Size};
use ratatui::widgets::{Paragraph, Widget as _, Wrap};
use ratatui_image::Image;
use ratatui_image::protocol::Protocol;

pub use self::asking::{Way, way};
pub use self::blocks::{Blocks, BlocksAtOnce};
use self::cache::{Cache, Key};
use self::worker::Worker;
use crate::dashboard::Pictures;
use crate::show::out::harmless;

/// A picture for an area of a certain size, or why there is none.
pub enum Shown {
    /// Half-blocks.
    Blocks(Blocks),
    /// In the terminal's own way.
    Pixels(Box<Protocol>),
    /// It cannot be shown.
    Broken(String),
}

/// Paints pictures as the terminal shows them best.
pub struct Painter {
    way: Way,
    cache: Arc<Cache>,
    worker: Worker,
    /// Whether anything was painted lately.
    has_painted: bool,
}

impl Painter {
    /// In this way; `ready` is called when there is more to paint than before.
    ///
    /// # Errors
    /// A system that gives no thread.
    pub fn new(way: Way, ready: impl Fn() + Send + 'static) -> Result<Self> {
        let cache = Arc::new(Cache::default());
        let worker = Worker::start(way.clone(), Arc::clone(&cache), ready)?;
        Ok(Self { way, cache, worker, has_painted: false })
    }

    /// Whether any picture was painted since the last call: its file may be another by now.
    pub fn take_painted(&mut self) -> bool {
        std::mem::take(&mut self.has_painted)
    }

    /// Forgets every picture: what the terminal was sent, it may have dropped.
    pub fn forget(&self) {
        self.cache.clear();
    }
}

impl Pictures for Painter {
    fn paint(&mut self, picture: &Path, area: Rect, buffer: &mut Buffer) {
        let area = area.intersection(buffer.area);
        if area.is_empty() {
            return;
        }
        self.has_painted = true;
        if let Way::None(reason) = &self.way {
            return say(reason, area, buffer);
        }
        let key = Key { path: picture.to_path_buf(), size: Size::new(area.width, area.height) };
        let is_painted = self.cache.with(&key, |shown| shown.paint(picture, area, buffer));
        if !is_painted {
            say("loading ..", area, buffer);
        }
        if self.cache.wants_a_look(&key) {
            self.worker.look(key);
        }
    }
}

impl Shown {
    fn paint(&self, picture: &Path, area: Rect, buffer: &mut Buffer) {
        match self {
            Self::Blocks(blocks) => blocks.paint(centred(area, blocks.size()), buffer),
            Self::Pixels(protocol) => {
                Image::new(protocol).allow_clipping(true).render(centred(area, protocol.size()), buffer);
            }
            Self::Broken(why) => {
                let name = picture.file_name().unwrap_or_default().to_string_lossy();
                say(&format!("{}: {why}", harmless(&name)), area, buffer);
            }
        }
    }
}

/// The middle of an area.
fn centred(area: Rect, size: Size) -> Rect {
    let (width, height) = (size.width.min(area.width), size.height.min(area.height));
    Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 2, width, height)
}

/// Says something in the middle of an area.
fn say(text: &str, area: Rect, buffer: &mut Buffer) {
    let words = Paragraph::new(text).alignment(Alignment::Center).wrap(Wrap { trim: true });
    let lines = lines_of(text, usize::from(area.width));
    words.render(centred(area, Size::new(area.width, u16::try_from(lines).unwrap_or(u16::MAX))), buffer);
}

/// How many lines a text takes: as many words in each as there is room for.
fn lines_of(text: &str, columns: usize) -> usize {
    let (mut lines, mut taken) = (1, 0);
    for word in text.split_whitespace().map(|word| word.chars().count()) {
        let with_space = taken + usize::from(taken > 0) + word;
        if with_space <= columns {
            taken = with_space;
        } else {
            lines += usize::from(taken > 0) + word.saturating_sub(1) / columns;
            taken = word.saturating_sub(1) % columns + 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests;

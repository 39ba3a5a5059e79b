use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use image::{DynamicImage, Rgb, RgbImage};
use ratatui::style::Color;

use super::cache::Cache;
use super::colours::Depth;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const RED: Color = Color::Rgb(255, 0, 0);
const BLUE: Color = Color::Rgb(0, 0, 255);

/// A folder with pictures in it, red above and blue below.
struct Album {
    folder: tempfile::TempDir,
}

impl Album {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn put(&self, name: &str, width: u32, height: u32) -> PathBuf {
        let path = self.folder.path().join(name);
        let colour = |_, y| if y < height / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) };
        DynamicImage::from(RgbImage::from_fn(width, height, colour)).save(&path).unwrap();
        path
    }
}

fn painter() -> (Painter, Receiver<()>) {
    let (told, heard) = channel();
    (Painter::new(Way::Blocks(Depth::Full), tell(told)).unwrap(), heard)
}

/// Tells that there is more to paint, if anybody still wants to know.
fn tell(told: Sender<()>) -> impl Fn() + Send {
    move || {
        let _ = told.send(());
    }
}

fn paint(painter: &mut dyn Pictures, picture: &Path, width: u16, height: u16) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    painter.paint(picture, area, &mut buffer);
    buffer
}

fn text(buffer: &Buffer) -> String {
    let cells: String = buffer.content.iter().map(|cell| cell.symbol()).collect();
    cells.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_picture_is_painted_once_it_is_ready_and_again_when_its_file_is_another() {
    let album = Album::new();
    let (mut painter, ready) = painter();
    let picture = album.put("a.png", 64, 64);
    assert_eq!(text(&paint(&mut painter, &picture, 20, 4)), "loading ..");
    ready.recv_timeout(PATIENCE).unwrap();
    let buffer = paint(&mut painter, &picture, 20, 4);
    // Four rows are eight pixels, and eight columns in the middle of twenty.
    assert_eq!((buffer[(6, 0)].fg, buffer[(13, 3)].bg, buffer[(5, 0)].symbol()), (RED, BLUE, " "));
    album.put("a.png", 65, 64);
    while ready.recv_timeout(Duration::from_millis(50)).is_err() {
        paint(&mut painter, &picture, 20, 4);
    }
}

#[test]
fn what_cannot_be_shown_says_why() {
    let album = Album::new();
    let (mut painter, ready) = painter();
    let file = |name: &str, bytes: &[u8]| {
        let path = album.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let torn = std::fs::read(album.put("whole.png", 64, 64)).unwrap();
    let huge = file("huge.png", b"");
    std::fs::File::options().write(true).open(&huge).unwrap().set_len(100 << 20).unwrap();
    let cases = [
        (album.folder.path().join("gone.png"), "cannot be read"),
        (file("words.png", b"no picture"), "no PNG"),
        (file("torn.png", &torn[..torn.len() / 2]), "broken"),
        (huge, "too large to show here: 100 MiB"),
    ];
    for (picture, why) in cases {
        paint(&mut painter, &picture, 60, 4);
        ready.recv_timeout(PATIENCE).unwrap();
        let async_text = text(&paint(&mut painter, &picture, 60, 4));
        assert!(async_text.contains(why), "{async_text}");
        assert_eq!(text(&paint(&mut BlocksAtOnce, &picture, 60, 4)), async_text);
    }
}

#[test]
fn nothing_is_painted_outside_of_an_area_and_none_is_too_small() {
    let album = Album::new();
    let picture = album.put("a.png", 640, 48);
    let mut buffer = Buffer::empty(Rect::new(0, 0, 10, 5));
    for area in
        [Rect::new(0, 0, 0, 0), Rect::new(3, 1, 1, 1), Rect::new(8, 3, 40, 40), Rect::new(90, 90, 4, 4)]
    {
        buffer.reset();
        BlocksAtOnce.paint(&picture, area, &mut buffer);
        for (at, cell) in buffer.content.iter().enumerate() {
            let (x, y) = buffer.pos_of(at);
            assert!(area.contains((x, y).into()) || cell.symbol() == " ", "{x} {y} for {area}");
        }
    }
}

#[test]
fn the_cache_keeps_what_was_painted_last_within_its_bound() {
    let cache = Cache::default();
    let key = |number: usize| Key { path: PathBuf::from(number.to_string()), size: Size::new(10, 10) };
    let done = || Some((None, Shown::Broken(String::new())));
    for number in 0..2000 {
        assert!(cache.wants_a_look(&key(number)));
        assert!(!cache.wants_a_look(&key(number)), "it is on its way");
        cache.looked(&key(number), done());
        assert!(cache.with(&key(0), |_| {}), "the first one is painted all the time");
    }
    assert!(cache.len() <= 400, "{}", cache.len());
    assert!(!cache.with(&key(1), |_| {}));
}

#[test]
fn the_terminals_own_ways_fit_into_the_area_too() {
    use ratatui_image::picker::{Picker, ProtocolType};
    let album = Album::new();
    for protocol in [ProtocolType::Kitty, ProtocolType::Iterm2, ProtocolType::Sixel] {
        let mut picker = Picker::halfblocks();
        picker.set_protocol_type(protocol);
        let (told, ready) = channel();
        let mut painter = Painter::new(Way::Pixels(picker), tell(told)).unwrap();
        for (width, height) in [(64, 64), (2000, 30), (30, 2000)] {
            let picture = album.put(&format!("{width}x{height}.png"), width, height);
            paint(&mut painter, &picture, 20, 6);
            ready.recv_timeout(PATIENCE).unwrap();
            let buffer = paint(&mut painter, &picture, 20, 6);
            assert!(
                buffer.content.iter().any(|cell| cell.symbol().contains('\x1b')),
                "{protocol:?} {width}x{height}"
            );
        }
    }
}

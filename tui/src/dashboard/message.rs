//! What goes into the dashboard's state, and what comes out of it.
//!
//! The border between what is pure and what touches the world; it knows neither.

use std::path::{Path, PathBuf};

use crossterm::event::{KeyEvent, MouseEvent};
use flow_engine::Record;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// What can wake the dashboard.
#[derive(Debug, Clone)]
pub enum Message {
    /// Something happened in the run.
    Record(Box<Record>),
    /// The run tells nothing more: its process is done, or its recording is over.
    End,
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was used.
    Mouse(MouseEvent),
    /// The frame has this many columns and rows from now on.
    Resize(u16, u16),
    /// So many seconds have passed since the run started.
    Now(f64),
    /// How the machine is.
    Resources(Resources),
    /// Something to say in the status line, from whoever carried out an effect.
    Notice(String),
}

/// What the state asks of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Stop one node; what depends on it is skipped.
    Cancel(String),
    /// Run a node again and what depends on it; without a name, whatever has failed or was stopped.
    RunAgain(Option<String>),
    /// Hold every node at its next step, or let them go on.
    Pause(bool),
    /// Have a node save a state to go on from.
    Checkpoint(String),
    /// Have a node sample its preview.
    Sample(String),
    /// Open a file in the person's editor, at a line and a column from 1.
    Edit {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// Put a text on the clipboard of the terminal.
    Copy(String),
    /// Have the terminal send clicks and the wheel, or leave them to it.
    Mouse(bool),
    /// Leave the screen for the plain stream; any key comes back.
    Drop,
    /// Give the terminal back to the shell until `fg`.
    Suspend,
    /// End the run after its next checkpoint, and then the dashboard.
    StopAfterCheckpoint,
    /// End the run at its next step, and then the dashboard.
    StopNow,
    /// End the dashboard and leave what runs alone.
    Leave,
}

/// What the dashboard may do to what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The run is this process's own.
    Own,
    /// The run is another process's: nothing can be asked of it.
    Attached,
    /// The run is over, and was written down.
    Recorded,
}

/// How the machine is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// Share of each processor that is busy, from 0 to 1.
    pub processors: Vec<f32>,
    /// Share of one processor that this process takes; above 1 if it takes several.
    pub process: f32,
    /// Bytes of memory that the process holds.
    pub memory: u64,
    /// Bytes of memory of the machine, and those of them that are taken.
    pub machine_memory: (u64, u64),
    /// Bytes that the project's store takes on disk, where that was looked at.
    pub store: Option<u64>,
    /// Bytes that are free on the store's disk.
    pub disk_free: Option<u64>,
    /// The graphics cards that the driver tells of.
    pub cards: Vec<Card>,
}

/// A graphics card.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Share of the time that it was busy, from 0 to 1.
    pub busy: f32,
    /// Bytes of its memory, and those of them that are taken.
    pub memory: (u64, u64),
    /// Its temperature in degrees Celsius.
    pub temperature: u32,
}

/// Whoever paints picture files into cells.
pub trait Pictures {
    /// Paints a picture into an area, as large as fits, or says there that it is on its way or cannot be read. It must
    /// return at once: decoding is done elsewhere.
    fn paint(&mut self, picture: &Path, area: Rect, buffer: &mut Buffer);
}

//! A page to read results on: one HTML file with its style and its pictures inside.
//!
//! The page asks nobody for anything. It has no scripts and no addresses, its policy forbids both, and so it can be
//! mailed, archived and opened from a disk in years. The same page gives the same bytes.
//!
//! Nothing here knows what was measured, why a value is the best of its column, or how a picture was made.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// Words above everything, and in the window's title.
    pub title: String,
    /// What a reader must know first, in paragraphs.
    pub lead: Vec<String>,
    /// What the page shows, from top to bottom.
    pub sections: Vec<Section>,
    /// What the page was made from, in lines of the footer: graph, versions, keys.
    pub origin: Vec<String>,
}

/// A part of a page under a title of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// Words above it, and in the table of contents. Two sections may have the same.
    pub title: String,
    /// What holds for everything in it, in paragraphs.
    pub notes: Vec<String>,
    /// What it shows, from top to bottom.
    pub blocks: Vec<Block>,
}

/// What a section shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// Values in rows and columns.
    Table(Table),
    /// A picture of pixels.
    Picture {
        /// Words below it.
        name: String,
        /// The bytes of its PNG file.
        png: Vec<u8>,
        /// Width and height in pixels, as its file has them.
        size: (u32, u32),
    },
    /// A picture of lines on white, which a dark page shows on dark, each colour in its own hue.
    Drawing {
        /// Words below it.
        name: String,
        /// An SVG document that names its namespace, as browsers want it of images. Scripts and references to other
        /// files in it do nothing.
        svg: String,
    },
}

/// Values in rows and columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The columns, from left to right. The first one names its row, unless it holds numbers.
    pub columns: Vec<Column>,
    /// A cell for each column. Cells that a row lacks are shown empty.
    pub rows: Vec<Vec<Cell>>,
    /// The key of the node that measured it.
    pub origin: Option<String>,
}

/// What the values of a column have in common.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// What its head says, the unit included.
    pub name: String,
    /// Whether its values are lined up as numbers.
    pub is_number: bool,
    /// Which of its values are better, if any are.
    pub better: Option<Better>,
}

/// Which of two numbers is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
}

/// A value in a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// The same with every digit, for those who point at it and for those who unfold the table below.
    pub exact: Option<String>,
    /// Whether it stands out as the best.
    pub is_best: bool,
}

const STYLE: &str = include_str!("style.css");
/// What browsers may do with the page: read its style and its pictures.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
/// The most sections that a reader finds without a table of contents.
const SECTIONS_WITHOUT_CONTENTS: usize = 2;
/// The most rows of a table that is open from the beginning.
const OPEN_ROWS: usize = 30;
/// Pictures narrower than this are enlarged, if they are, with their pixels as they are.
const SMALL_WIDTH: u32 = 200;

impl Page {
    /// The page as a file of HTML.
    pub fn to_html(&self) -> String {
        let anchors = anchors(self.sections.iter().map(|section| section.title.as_str()));
        let sections = || self.sections.iter().zip(&anchors);
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header { h1 { (self.title) } (paragraphs(&self.lead)) }
                    @if self.sections.len() > SECTIONS_WITHOUT_CONTENTS {
                        nav aria-label="Contents" {
                            ol { @for (section, anchor) in sections() {
                                li { a href={ "#" (anchor) } { (section.title) } }
                            } }
                        }
                    }
                    main { @for (section, anchor) in sections() { (section.to_markup(anchor)) } }
                    @if !self.origin.is_empty() { footer { (paragraphs(&self.origin)) } }
                }
            }
        };
        page.into_string() + "\n"
    }
}

impl Section {
    fn to_markup(&self, anchor: &str) -> Markup {
        html! {
            section {
                h2 id=(anchor) { (self.title) }
                (paragraphs(&self.notes))
                @for block in &self.blocks { (block.to_markup(anchor)) }
            }
        }
    }
}

impl Block {
    /// The anchor is that of the section's heading, which names what has no words of its own.
    fn to_markup(&self, anchor: &str) -> Markup {
        match self {
            Self::Table(table) => table.to_markup(anchor),
            Self::Picture { name, png, size: (width, height) } => figure(
                name,
                "scroll",
                html! {
                    img class=[(*width < SMALL_WIDTH).then_some("small")] alt={ (width) " × " (height) " pixels" }
                        width=(width) height=(height) src={ "data:image/png;base64," (STANDARD.encode(png)) };
                },
            ),
            Self::Drawing { name, svg } => figure(
                name,
                "scroll card",
                html! { img alt="Drawing" src={ "data:image/svg+xml;base64," (STANDARD.encode(svg)) }; },
            ),
        }
    }
}

impl Table {
    fn to_markup(&self, anchor: &str) -> Markup {
        let count = match self.rows.len() {
            1 => "1 row".to_owned(),
            count => format!("{count} rows"),
        };
        let caption = html! {
            (count)
            @if let Some(origin) = &self.origin { ", measured by " code { (origin) } }
        };
        let table = self.grid(anchor, &caption, Cell::to_markup);
        html! {
            @if self.rows.len() > OPEN_ROWS {
                details { summary { "Table of " (count) } (table) }
            } @else {
                (table)
            }
            // A title is only for those who can point.
            @if self.rows.iter().flatten().any(|cell| cell.exact.is_some()) {
                details.exact {
                    summary { "With every digit" }
                    (self.grid(anchor, &html! { "Every digit" }, Cell::to_exact_markup))
                }
            }
        }
    }

    /// The table, with the cells in one of their forms.
    fn grid(&self, anchor: &str, caption: &Markup, cell: fn(&Cell, Place) -> Markup) -> Markup {
        html! {
            div.scroll tabindex="0" role="group" aria-labelledby=(anchor) {
                table {
                    caption { (caption) }
                    thead { tr { @for column in &self.columns { (column.to_markup()) } } }
                    tbody { @for row in &self.rows { (self.row(row, cell)) } }
                }
            }
        }
    }

    fn row(&self, cells: &[Cell], cell: fn(&Cell, Place) -> Markup) -> Markup {
        let length = cells.len().max(self.columns.len());
        let lacking = Cell::default();
        html! {
            tr { @for at in 0..length {
                (cell(cells.get(at).unwrap_or(&lacking), self.place(at)))
            } }
        }
    }

    /// What the cells at a place of their rows are for.
    fn place(&self, at: usize) -> Place {
        match self.columns.get(at) {
            Some(column) if column.is_number => Place::Number,
            _ if at == 0 => Place::Head,
            _ => Place::Words,
        }
    }
}

/// What a cell is for.
#[derive(Clone, Copy)]
enum Place {
    /// To name its row.
    Head,
    /// To be lined up with the numbers above and below it.
    Number,
    /// To be read.
    Words,
}

impl Place {
    /// A cell in it.
    fn cell(self, title: Option<&str>, text: &Markup) -> Markup {
        html! {
            @match self {
                Self::Head => { th scope="row" title=[title] { (text) } },
                Self::Number => { td class="number" title=[title] { (text) } },
                Self::Words => { td title=[title] { (text) } },
            }
        }
    }
}

impl Cell {
    fn to_markup(&self, place: Place) -> Markup {
        let text = html! { @if self.is_best { strong { (self.text) } } @else { (self.text) } };
        place.cell(self.exact.as_deref(), &text)
    }

    fn to_exact_markup(&self, place: Place) -> Markup {
        let text = self.exact.as_ref().unwrap_or(&self.text);
        place.cell(None, &html! { (text) })
    }
}

impl Column {
    fn to_markup(&self) -> Markup {
        let arrow = self.better.map(|better| match better {
            Better::Higher => ("↑", "higher is better"),
            Better::Lower => ("↓", "lower is better"),
        });
        html! {
            th scope="col" class=[self.is_number.then_some("number")] {
                (self.name)
                @if let Some((arrow, meaning)) = arrow {
                    " " span.better role="img" title=(meaning) aria-label=(meaning) { (arrow) }
                }
            }
        }
    }
}

/// A picture over its name. It can be focused, so that keys scroll it.
fn figure(name: &str, class: &str, picture: Markup) -> Markup {
    html! {
        figure {
            div class=(class) tabindex="0" { (picture) }
            figcaption { (name) }
        }
    }
}

fn paragraphs(texts: &[String]) -> Markup {
    html! { @for text in texts { p { (prose(text)) } } }
}

/// Words in which what stands between two backticks is a name or a piece of code.
fn prose(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // One backtick without its other is a backtick.
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! { @for (at, part) in parts.iter().enumerate() {
        @if at % 2 == 1 { code { (part) } } @else { (part) }
    } }
}

/// A name for each title that no other has: its letters and digits, with a number if it is taken.
fn anchors<'a>(titles: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut free = |title: &str| {
        let slug = slug(title);
        let numbered = (2..).map(|number: usize| format!("{slug}-{number}"));
        let found = std::iter::once(slug.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
        found.unwrap_or(slug)
    };
    titles.map(&mut free).collect()
}

fn slug(title: &str) -> String {
    let lower = title.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "section".to_owned() } else { words.join("-") }
}

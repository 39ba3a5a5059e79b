//! `Grid`: many pictures on one sheet, with words beside and below them.

use flow_engine::{Check, Cx, In, Nature, Node, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::picture::sheet::{Cell, Row, Sheet};
use crate::picture::{Images, Picture};

/// Put pictures on one labelled sheet, one row per input, to compare them at a glance.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Rows of pictures, from top to bottom.
    pub images: Vec<In<Images>>,
    /// Words to the left of each row, as many as there are inputs; `""` leaves one out. Without
    /// them a row is labelled with the name of its node.
    #[serde(default)]
    pub rows: Option<Vec<String>>,
    /// Words below each picture.
    #[serde(default)]
    pub captions: Captions,
    /// Most pictures side by side; a row of more goes on below. Without it, a row is one line.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub columns: Option<usize>,
    /// Length of the longer side of each picture on the sheet, in pixels.
    #[serde(default = "default_cell")]
    #[schemars(range(min = 16, max = 2048))]
    pub cell: u32,
    /// Words above the sheet.
    #[serde(default)]
    pub title: Option<String>,
}

/// What stands below a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Captions {
    /// Nothing.
    None,
    /// The picture's name: that of its file, or its seed.
    #[default]
    Name,
    /// The prompt that it was made with, or else its caption.
    Prompt,
    /// The seed that it was made with.
    Seed,
}

fn default_cell() -> u32 {
    256
}

impl Node for Grid {
    const KIND: &'static str = "Grid";
    // Labels may be the names of nodes, which are part of no key: a kept sheet could show an old
    // name. Drawing it anew is cheap.
    const NATURE: Nature = Nature::Effect;
    type Output = Images;

    fn check(&self, cx: &mut Check<'_>) {
        if self.images.is_empty() {
            cx.problem_with("images", Problem::new("a grid needs at least one input"));
        }
        let (inputs, rows) = (self.images.len(), self.rows.as_ref().map_or(self.images.len(), Vec::len));
        if rows != inputs {
            let message = format!("`rows` and `images` must be equally long, and are {rows} and {inputs}");
            cx.problem_with("rows", Problem::new(message).hint("`\"\"` leaves a label out"));
        }
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Images> {
        let inputs = self.images.iter().map(|wire| cx.input(wire)).collect::<Result<Vec<_>>>()?;
        let total = inputs.iter().map(|images| images.pictures.len()).sum();
        if total == 0 {
            let names = self.images.iter().map(|wire| format!("`{}`", wire.node())).collect::<Vec<_>>();
            return Err(
                Problem::new(format!("{} gives no picture to put on a sheet", names.join(", "))).into()
            );
        }
        let rows =
            inputs.iter().enumerate().flat_map(|(index, images)| self.rows_of(index, &images.pictures));
        let sheet =
            Sheet { title: self.title.as_deref().unwrap_or_default(), rows: rows.collect(), cell: self.cell };
        let pixels = sheet.draw(|done| cx.progress(done, total, "picture"))?;
        Ok(Images { pictures: vec![Picture::new(cx.node(), pixels)] })
    }
}

impl Grid {
    /// The rows of one input; the first bears the label. An input without pictures is a row of
    /// its label alone.
    fn rows_of<'a>(&'a self, index: usize, pictures: &'a [Picture]) -> Vec<Row<'a>> {
        let cell =
            |picture: &'a Picture| Cell { pixels: &picture.pixels, caption: self.captions.of(picture) };
        let row = |pictures: &'a [Picture]| pictures.iter().map(cell).collect();
        let (first, rest) = pictures.split_at(self.columns.unwrap_or(usize::MAX).min(pictures.len()));
        let mut rows = vec![Row { label: self.label(index), cells: row(first), continues: false }];
        let below = rest.chunks(first.len().max(1));
        rows.extend(below.map(|pictures| Row { label: "", cells: row(pictures), continues: true }));
        rows
    }

    fn label(&self, index: usize) -> &str {
        let given = self.rows.as_ref().and_then(|rows| rows.get(index));
        given.map_or(self.images[index].node(), String::as_str)
    }
}

impl Captions {
    fn of(self, picture: &Picture) -> String {
        let generation = picture.generation.as_ref();
        let text = match self {
            Self::None => None,
            Self::Name => Some(picture.name.clone()),
            Self::Prompt => generation.map(|made| made.prompt.clone()).or_else(|| picture.caption.clone()),
            Self::Seed => generation.map(|made| format!("seed {}", made.seed)),
        };
        text.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use image::GenericImageView as _;

    use crate::picture::testing::{House, dots};

    fn grid(fields: &str) -> String {
        format!(
            r#""small": Dots(count: 3, width: 8, height: 8), "wide": Dots(count: 2, width: 16, height: 4),
               "grid": Grid({fields})"#
        )
    }

    fn size(fields: &str) -> (u32, u32) {
        let pictures = House::new().run(&grid(fields)).pictures("grid");
        assert_eq!((pictures.len(), pictures[0].name.as_str()), (1, "grid"));
        pictures[0].pixels.dimensions()
    }

    fn mistake(fields: &str) -> String {
        House::new().run(&grid(fields)).mistake().to_owned()
    }

    #[test]
    fn a_sheet_has_margins_gaps_and_pictures_of_the_size_of_a_cell() {
        let plain = |fields: &str| format!(r#"rows: ["", ""], captions: None, cell: 32, {fields}"#);
        let (width, height) = size(&plain(r#"images: ["small", "wide"]"#));
        assert_eq!((width, height), (2 * 12 + 3 * 32 + 2 * 6, 2 * 12 + 32 + 6 + 8));
    }

    #[test]
    fn labels_captions_and_titles_take_room() {
        let plain = size(r#"images: ["small"], rows: [""], captions: None"#);
        assert!(size(r#"images: ["small"], captions: None"#).0 > plain.0);
        assert!(size(r#"images: ["small"], rows: [""], captions: Prompt"#).1 > plain.1);
        assert!(size(r#"images: ["small"], rows: [""], captions: None, title: "Bears 🧸 漢""#).1 > plain.1);
    }

    #[test]
    fn columns_wrap_an_input_into_several_rows() {
        let wide = size(r#"images: ["small"], captions: None"#);
        let tall = size(r#"images: ["small"], captions: None, columns: 1"#);
        assert!(tall.0 < wide.0 && tall.1 > wide.1, "{wide:?} {tall:?}");
    }

    #[test]
    fn a_picture_stands_on_the_sheet_with_its_own_pixels() {
        let pictures = House::new()
            .run(&grid(r#"images: ["small"], rows: [""], captions: None, cell: 16"#))
            .pictures("grid");
        let seen = pictures[0].pixels.view(12, 12, 16, 16).to_image();
        let (original, enlarged) = (&dots(0, 8, 8).pixels, image::imageops::thumbnail(&seen, 8, 8));
        for (a, b) in original.iter().zip(enlarged.iter()) {
            assert!(a.abs_diff(*b) < 6, "{a} {b}");
        }
    }

    #[test]
    fn rows_must_be_as_many_as_inputs() {
        let mistake = mistake(r#"images: ["small", "wide"], rows: ["a"]"#);
        assert!(
            mistake.starts_with("`rows` and `images` must be equally long, and are 1 and 2"),
            "{mistake}"
        );
    }

    #[test]
    fn a_grid_of_nothing_is_a_mistake() {
        assert!(mistake("images: []").starts_with("a grid needs at least one input"));
        let ran = House::new()
            .run(r#""none": Dots(count: 0, width: 1, height: 1), "grid": Grid(images: ["none"])"#);
        assert!(ran.mistake().contains("`none` gives no picture"), "{}", ran.mistake());
    }

    #[test]
    fn an_input_without_pictures_among_others_is_an_empty_row() {
        let nodes = r#""none": Dots(count: 0, width: 1, height: 1), "one": Dots(count: 1, width: 8, height: 8),
                       "grid": Grid(images: ["none", "one"])"#;
        assert_eq!(House::new().run(nodes).pictures("grid").len(), 1);
    }

    #[test]
    fn a_cell_out_of_range_and_an_absurd_sheet_are_refused() {
        assert!(mistake(r#"images: ["small"], cell: 15"#).contains("must be from 16 to 2048"));
        assert!(mistake(r#"images: ["small"], columns: 0"#).contains("must be at least 1"));
        let many = r#""dots": Dots(count: 60, width: 1, height: 1),
                      "grid": Grid(images: ["dots"], cell: 2048)"#;
        let ran = House::new().run(many);
        assert!(ran.mistake().contains("100 million are the most"), "{}", ran.mistake());
    }
}

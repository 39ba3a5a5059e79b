//! Pictures on a wire, and how they come from files and go into them.
//!
//! [`find`] tells which files are meant, [`read`] turns them into pictures, [`png`] turns pictures into files that say how they were
//! made, [`sheet`] puts many pictures on one with [`text`] beside them, [`plot`] draws lines; `stored` are pictures in the store. Nothing
//! here knows a graph.

pub mod find;
pub mod generation;
mod legend;
pub mod plot;
pub mod png;
pub mod read;
pub mod scatter;
pub mod sheet;
mod stored;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;

use flow_engine::{Digest, Result, StoredFile, Value};
use image::{GrayImage, RgbImage};

pub use generation::Generation;

/// Pictures in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Images {
    /// The pictures; they may differ in size.
    pub pictures: Vec<Picture>,
}

/// A picture and what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// The pixels, 8-bit sRGB.
    pub pixels: RgbImage,
    /// What a person calls it: the stem of its file, or `seed 7`.
    pub name: String,
    /// What it shows, in words.
    pub caption: Option<String>,
    /// Which pixels count, from 0 not at all to 255 fully; as large as the picture.
    pub mask: Option<GrayImage>,
    /// How it was made, if a model made it.
    pub generation: Option<Generation>,
}

impl Picture {
    /// A picture of which only a name is known.
    pub fn new(name: impl Into<String>, pixels: RgbImage) -> Self {
        Self { pixels, name: name.into(), caption: None, mask: None, generation: None }
    }
}

impl Value for Images {
    const TYPE: &'static str = "Images";

    fn digest(&self) -> Digest {
        let about: Vec<Vec<u8>> = self.pictures.iter().map(about).collect();
        let parts = self.pictures.iter().zip(&about).flat_map(|(picture, about)| {
            let mask = picture.mask.as_ref().map_or(&[][..], |mask| mask.as_raw());
            [about.as_slice(), picture.pixels.as_raw(), mask]
        });
        Digest::of_parts(parts)
    }

    fn to_files(&self) -> Result<Option<Vec<StoredFile<'_>>>> {
        stored::to_files(self).map(Some)
    }

    fn from_files(files: Vec<StoredFile<'static>>) -> Result<Self> {
        stored::from_files(files)
    }
}

/// Everything about a picture but its pixels and its mask's, in one unambiguous byte string.
fn about(picture: &Picture) -> Vec<u8> {
    let Picture { pixels, name, caption, mask, generation } = picture;
    let mask = mask.as_ref().map(GrayImage::dimensions);
    serde_json::json!([pixels.dimensions(), name, caption, mask, generation]).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Images {
        Images {
            pictures: vec![Picture::new("a", RgbImage::new(2, 3)), Picture::new("b", RgbImage::new(1, 1))],
        }
    }

    fn changed(change: impl Fn(&mut Picture)) -> Digest {
        let mut images = images();
        change(&mut images.pictures[0]);
        images.digest()
    }

    #[test]
    fn the_digest_sees_pixels_sizes_names_captions_masks_and_how_a_picture_was_made() {
        let digests = [
            images().digest(),
            changed(|picture| picture.pixels[(1, 2)] = image::Rgb([0, 0, 1])),
            changed(|picture| picture.pixels = RgbImage::new(3, 2)),
            changed(|picture| picture.name = "c".into()),
            changed(|picture| picture.caption = Some(String::new())),
            changed(|picture| picture.mask = Some(GrayImage::new(2, 3))),
            changed(|picture| picture.mask = Some(GrayImage::from_pixel(2, 3, image::Luma([1])))),
            changed(|picture| picture.generation = Some(generation::example())),
            changed(|picture| picture.generation = Some(Generation { seed: 8, ..generation::example() })),
            Images { pictures: images().pictures.into_iter().rev().collect() }.digest(),
            Images::default().digest(),
        ];
        let distinct: std::collections::HashSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
        assert_eq!(images().digest(), images().digest());
    }
}

//! Pictures in the store: a PNG file for each, one for each mask, and what is known about them.

use flow_engine::{Result, StoredFile, Value as _};
use image::{ImageBuffer, Luma, Rgb};
use serde::{Deserialize, Serialize};

use super::png::{Plain, decode_plain, encode_plain};
use super::{Generation, Images, Picture};
use crate::stored::{Files, damaged, json, numbered};

const FILE: &str = "images.json";

/// What is known about a picture but its pixels.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    name: String,
    caption: Option<String>,
    /// Whether a mask is beside it.
    mask: bool,
    generation: Option<Generation>,
}

/// `images.json`, and `00.png` and `00.mask.png` and so on, as they would be saved in a folder.
pub(super) fn to_files(images: &Images) -> Result<Vec<StoredFile<'static>>> {
    let about = |picture: &Picture| About {
        name: picture.name.clone(),
        caption: picture.caption.clone(),
        mask: picture.mask.is_some(),
        generation: picture.generation.clone(),
    };
    let mut files = vec![json(FILE, &images.pictures.iter().map(about).collect::<Vec<_>>())?];
    for (picture, name) in images.pictures.iter().zip(numbered(images.pictures.len())) {
        files.push(StoredFile::new(format!("{name}.png"), encode_plain(&picture.pixels)?));
        if let Some(mask) = &picture.mask {
            files.push(StoredFile::new(format!("{name}.mask.png"), encode_plain(mask)?));
        }
    }
    Ok(files)
}

/// What [`to_files`] wrote.
pub(super) fn from_files(files: Vec<StoredFile<'static>>) -> Result<Images> {
    let mut files = Files::new(Images::TYPE, files)?;
    let about: Vec<About> = files.json(FILE)?;
    let names = numbered(about.len());
    let picture = |(About { name, caption, mask, generation }, file): (About, String)| {
        let mask = mask.then(|| pixels::<Luma<u8>>(&mut files, &format!("{file}.mask.png"))).transpose()?;
        let pixels = pixels::<Rgb<u8>>(&mut files, &format!("{file}.png"))?;
        Ok(Picture { pixels, name, caption, mask, generation })
    };
    let pictures = about.into_iter().zip(names).map(picture).collect::<Result<_>>()?;
    files.end()?;
    Ok(Images { pictures })
}

fn pixels<P: Plain>(files: &mut Files, name: &str) -> Result<ImageBuffer<P, Vec<u8>>> {
    let pixels = decode_plain(&files.take(name)?);
    Ok(pixels.map_err(|cause| damaged(Images::TYPE, format!("`{name}`: {cause:#}")))?)
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, RgbImage};
    use proptest::prelude::*;

    use super::super::generation::example;
    use super::super::testing::dots;
    use super::*;
    use crate::stored::testing::{back, files, survives_damage};

    fn bytes(count: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), count)
    }

    fn generation() -> impl Strategy<Value = Generation> {
        let number = || any::<f64>().prop_filter("comparable", |number| !number.is_nan());
        let words = (".*", prop::option::of(".*"), ".*", prop::option::of(".*"), ".*");
        let numbers = (number(), prop::option::of(number()), number(), any::<u64>(), any::<[usize; 3]>());
        (words, numbers).prop_map(|(words, numbers)| {
            let (prompt, negative_prompt, sampler, schedule_type, model) = words;
            let (eta, strength, guidance, seed, [steps, width, height]) = numbers;
            let named = Generation { prompt, negative_prompt, sampler, schedule_type, model, ..example() };
            Generation { eta, strength, guidance, seed, steps, width, height, ..named }
        })
    }

    fn picture() -> impl Strategy<Value = Picture> {
        let known = (".*", prop::option::of(".*"), prop::option::of(generation()));
        (1..6u32, 1..6u32, known).prop_flat_map(|(w, h, (name, caption, generation))| {
            let count = (w * h) as usize;
            (bytes(3 * count), prop::option::of(bytes(count))).prop_map(move |(pixels, mask)| Picture {
                pixels: RgbImage::from_raw(w, h, pixels).unwrap(),
                mask: mask.map(|mask| GrayImage::from_raw(w, h, mask).unwrap()),
                name: name.clone(),
                caption: caption.clone(),
                generation: generation.clone(),
            })
        })
    }

    proptest! {
        #[test]
        fn pictures_come_back_from_their_files(pictures in prop::collection::vec(picture(), 0..4)) {
            let images = Images { pictures };
            prop_assert_eq!(back(&images), images);
        }
    }

    #[test]
    fn a_hundred_of_one_name_come_back_in_their_order() {
        let one = |seed| Picture { name: "twin".into(), ..dots(seed, 3, 2) };
        let images = Images { pictures: (0..101).map(one).collect() };
        assert_eq!(back(&images), images);
        assert_eq!(files(&images)[1].name, "000.png");
    }

    #[test]
    fn other_programs_open_them() {
        let mask = GrayImage::from_fn(64, 48, |x, y| Luma([(x + y) as u8]));
        let picture = Picture { mask: Some(mask.clone()), ..dots(1, 64, 48) };
        let found = files(&Images { pictures: vec![picture.clone()] });
        let names: Vec<_> = found.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["images.json", "00.png", "00.mask.png"]);
        assert_eq!(image::load_from_memory(&found[1].bytes).unwrap(), picture.pixels.into());
        assert_eq!(image::load_from_memory(&found[2].bytes).unwrap(), mask.into());
    }

    #[test]
    fn a_header_that_promises_a_billion_pixels_is_refused_before_there_is_room_for_them() {
        let mut found = files(&Images { pictures: vec![dots(0, 8, 6)] });
        let png = found[1].bytes.to_mut();
        png[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        let crc = checksum(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        let said = format!("{:#}", Images::from_files(found).unwrap_err());
        assert!(said.contains("promises more pixels"), "{said}");
    }

    /// The checksum of a PNG chunk (ISO 3309).
    fn checksum(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
    }

    #[test]
    fn damaged_files_are_refused() {
        let mask = Some(GrayImage::new(8, 6));
        survives_damage(&Images { pictures: vec![Picture { mask, ..dots(1, 8, 6) }, dots(2, 5, 5)] });
    }
}

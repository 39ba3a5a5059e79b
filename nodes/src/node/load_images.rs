//! `LoadImages`: pictures from a folder, a pattern or a file.

use std::path::PathBuf;

use flow_engine::{Check, Cx, Node, Project, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::picture::find::{caption_file, find, mask_file};
use crate::picture::{Images, read};

/// Load pictures from a folder, from a pattern or from one file.
///
/// PNG, JPEG and WebP are read and become 8-bit RGB: what is transparent becomes white, and a
/// photo is turned upright. A text file with a picture's name, `bear.txt` beside `bear.png`, is
/// its caption; a grey picture of the same size, `bear.mask.png`, is its mask. Folders inside the
/// folder and hidden files are left out.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadImages {
    /// A folder, a pattern or one file. In a pattern `*` is any text in a name, `?` one character,
    /// `[ab]` one of these and `**` any folders, as in `photos/**/*.jpg`. Pictures come in the order
    /// of their paths, and numbers in these count as numbers: 2 before 10.
    pub path: String,
}

impl Node for LoadImages {
    const KIND: &'static str = "LoadImages";
    type Output = Images;

    fn check(&self, cx: &mut Check<'_>) {
        let project = cx.project();
        let checked = find(&self.path, project).and_then(|files| read::check(&files, project));
        if let Err(problem) = checked {
            cx.problem_with("path", problem);
        }
    }

    fn files(&self, project: &Project) -> Result<Vec<PathBuf>> {
        let mut files = find(&self.path, project)?;
        let beside = files.iter().flat_map(|picture| [caption_file(picture), mask_file(picture)]);
        let beside: Vec<_> = beside.flatten().collect();
        files.extend(beside);
        Ok(files)
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Images> {
        let files = find(&self.path, cx.project())?;
        let pictures = read::load(&files, cx.project(), |done| cx.progress(done, files.len(), "picture"))?;
        Ok(Images { pictures })
    }
}

#[cfg(test)]
mod tests {
    use crate::picture::testing::{House, dots};

    const LOAD: &str = r#""photos": LoadImages(path: "photos")"#;

    #[test]
    fn a_folder_gives_its_pictures_in_natural_order_with_their_captions() {
        let house = House::new();
        for (name, seed) in [("10.png", 2), ("2.PNG", 1), ("1.png", 0)] {
            house.paint(&format!("photos/{name}"), seed);
        }
        house.write("photos/2.txt", "\u{feff} a bär \n");
        house.write("photos/.hidden.png", "");
        house.write("photos/notes.md", "");
        house.paint("photos/deeper/3.png", 3);
        let pictures = house.run(LOAD).pictures("photos");
        let names: Vec<_> = pictures.iter().map(|picture| picture.name.as_str()).collect();
        assert_eq!(names, ["1", "2", "10"]);
        assert_eq!(pictures[2].pixels, dots(2, 8, 6).pixels);
        assert_eq!(pictures[1].caption.as_deref(), Some("a bär"));
        assert_eq!(pictures[0].caption, None);
    }

    #[test]
    fn a_file_gives_one_picture() {
        let house = House::new();
        house.paint("a.png", 1);
        assert_eq!(house.run(r#""photo": LoadImages(path: "a.png")"#).pictures("photo").len(), 1);
    }

    #[test]
    fn a_pattern_gives_the_pictures_that_it_matches_in_natural_order() {
        let house = House::new();
        for (name, seed) in [("10/a.png", 2), ("2/a.png", 1), ("2/b.png", 0), ("2/.c.png", 4)] {
            house.paint(&format!("photos [1]/{name}"), seed);
        }
        house.write("photos [1]/2/a.txt", "a bear");
        let names = |pattern: &str| -> Vec<_> {
            let pictures =
                house.run(&format!(r#""photos": LoadImages(path: "{pattern}")"#)).pictures("photos");
            pictures.iter().map(|picture| (picture.name.clone(), picture.pixels[(0, 0)].0[2] / 50)).collect()
        };
        let (a, b) = ("a".to_owned(), "b".to_owned());
        assert_eq!(names("photos*/*/a.*"), [(a.clone(), 1), (a.clone(), 2)]);
        assert_eq!(names("**/*.png"), [(a.clone(), 1), (b, 0), (a, 2)]);
        let ran = house.run(r#""photos": LoadImages(path: "photos/*.jpg")"#);
        assert!(ran.mistake().starts_with("there is no picture in `photos/*.jpg`"), "{}", ran.mistake());
        let ran = house.run(r#""photos": LoadImages(path: "photos/[")"#);
        assert!(ran.mistake().starts_with("`photos/[` is no pattern: "), "{}", ran.mistake());
    }

    #[test]
    fn a_mask_beside_a_picture_comes_with_it_and_is_no_picture() {
        let house = House::new();
        house.paint("photos/a.png", 1);
        house.paint("photos/b.png", 2);
        let mask = image::GrayImage::from_pixel(8, 6, image::Luma([200]));
        mask.save(house.root().join("photos/b.mask.png")).unwrap();
        let pictures = house.run(LOAD).pictures("photos");
        assert_eq!(pictures.len(), 2);
        assert_eq!((&pictures[0].mask, &pictures[1].mask), (&None, &Some(mask)));
    }

    #[test]
    fn a_mask_of_another_size_or_with_colours_is_named() {
        let house = House::new();
        house.paint("photos/a.png", 1);
        image::GrayImage::new(6, 8).save(house.root().join("photos/a.mask.png")).unwrap();
        let ran = house.run(LOAD);
        let says = "cannot read photos/a.mask.png: the mask is 6 x 8 pixels, but its picture 8 x 6 pixels";
        assert!(ran.mistake().starts_with(says) && ran.events.is_empty(), "{}", ran.mistake());
        house.paint("photos/a.mask.png", 3);
        let ran = house.run(LOAD);
        let says = "cannot read photos/a.mask.png: a mask is grey and opaque";
        assert!(ran.mistake().contains(says), "{}", ran.mistake());
    }

    #[test]
    fn every_file_whose_bytes_matter_is_in_the_key() {
        let house = House::new();
        house.paint("photos/a.png", 1);
        let key = || {
            let told = house.run(LOAD).events;
            told.iter().find_map(|event| match event {
                flow_engine::Event::NodeStarted { key, .. } => *key,
                _ => None,
            })
        };
        let first = key();
        assert!(first.is_some());
        house.write("photos/a.txt", "a bear");
        let captioned = key();
        house.paint("photos/a.png", 2);
        assert!(captioned != first && key() != captioned);
    }

    #[test]
    fn a_missing_folder_is_reported_with_what_paths_are_relative_to() {
        let ran = House::new().run(LOAD);
        assert!(
            ran.mistake().starts_with("there is no `photos` | Some(\"paths are relative to "),
            "{}",
            ran.mistake()
        );
        assert_eq!(ran.places, ["\"photos\""]);
    }

    #[test]
    fn a_folder_without_pictures_is_reported_with_the_endings_that_are_read() {
        let house = House::new();
        house.write("photos/notes.md", "");
        let ran = house.run(LOAD);
        assert!(ran.mistake().starts_with("there is no picture in `photos`"), "{}", ran.mistake());
        assert!(ran.mistake().contains(".png, .jpg, .jpeg, .webp"), "{}", ran.mistake());
    }

    #[test]
    fn every_broken_file_among_good_ones_is_named_before_anything_runs() {
        let house = House::new();
        house.paint("photos/good.png", 1);
        house.write("photos/text.png", "this is no picture");
        house.write("photos/empty.jpg", "");
        house.write("photos/good.txt", b"\xff\xfe");
        let ran = house.run(LOAD);
        let mistake = ran.mistake();
        assert!(mistake.starts_with("cannot read 3 files: photos/empty.jpg ("), "{mistake}");
        assert!(mistake.contains("photos/good.txt (") && mistake.contains("photos/text.png ("), "{mistake}");
        assert!(ran.events.is_empty());
    }

    #[test]
    fn a_picture_that_ends_early_is_named_when_it_is_decoded() {
        let house = House::new();
        house.paint("photos/good.png", 1);
        house.paint("photos/short.png", 2);
        let bytes = house.read("photos/short.png");
        house.write("photos/short.png", &bytes[..60]);
        let ran = house.run(LOAD);
        assert!(ran.mistake().contains("cannot read photos/short.png: "), "{}", ran.mistake());
        assert!(!ran.events.is_empty());
    }
}

//! `SaveImages`: pictures into PNG files that say how they were made.

use std::path::PathBuf;

use flow_engine::{Check, Cx, In, Nature, Node, Problem, Project, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::Form;
use crate::picture::{Images, Picture, png};
use crate::stored::numbered;
use flow_engine::file;

/// Save pictures as PNG files, and hand them on unchanged.
///
/// Each file holds the whole graph (`flow`), its key (`flow_key`), and for sampled pictures the
/// text in which other tools look for prompt, seed and sampler (`parameters`). A file that holds
/// these bytes already is left alone; other files in the folder are never touched.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveImages {
    /// Pictures to save.
    pub images: In<Images>,
    /// A folder, in which the files are named `00.png`, `01.png` and so on; or, for exactly one
    /// picture, a file that ends in `.png`. Missing folders are made.
    pub path: String,
}

impl Node for SaveImages {
    const KIND: &'static str = "SaveImages";
    const NATURE: Nature = Nature::Effect;
    type Output = Images;

    fn check(&self, cx: &mut Check<'_>) {
        if let Err(problem) = PNG.writable(&self.path, &cx.path(&self.path)) {
            cx.problem_with("path", problem);
        }
        if let Some(images) = cx.input(&self.images)
            && let Err(problem) = self.files(images.pictures.len())
        {
            cx.problem_with("path", problem);
        }
    }

    fn target(&self, project: &Project) -> Option<PathBuf> {
        Some(project.path(&self.path))
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Images> {
        let images = cx.input(&self.images)?;
        let files = self.files(images.pictures.len())?;
        PNG.writable(&self.path, &cx.path(&self.path))?;
        for (index, (picture, file)) in images.pictures.iter().zip(&files).enumerate() {
            let path = cx.path(file);
            file::write_if_changed(&path, &png::encode(&picture.pixels, &texts(picture, cx)?)?)?;
            cx.preview(&path, &picture.name);
            cx.progress(index + 1, files.len(), "picture")?;
        }
        Ok(Images::clone(&images))
    }
}

impl SaveImages {
    fn names_a_file(&self) -> bool {
        PNG.names_a_file(&self.path)
    }

    /// The file of each picture, as a path of the graph.
    fn files(&self, count: usize) -> Result<Vec<String>, Problem> {
        match count {
            0 => Err(Problem::new(format!("`{}` gives no picture to save", self.images.node()))),
            1 if self.names_a_file() => Ok(vec![self.path.clone()]),
            _ if self.names_a_file() => {
                let message = format!(
                    "`{}` is one file, and `{}` gives {count} pictures",
                    self.path,
                    self.images.node()
                );
                let folder = self.path.rsplit_once('.').map_or("out", |(folder, _)| folder);
                Err(Problem::new(message).hint(format!("name a folder, such as `{folder}`")))
            }
            _ => {
                let folder = self.path.trim_end_matches('/');
                Ok(numbered(count).map(|number| format!("{folder}/{number}.png")).collect())
            }
        }
    }
}

/// What pictures are saved as.
const PNG: Form = Form {
    ending: "png",
    others: &["jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"],
    saved_as: "pictures are saved as PNG",
    example: "out/bear",
};

/// What the file says about the picture.
fn texts(picture: &Picture, cx: &Cx<'_>) -> Result<Vec<png::TextChunk>> {
    let parameters = picture.generation.as_ref().map(|generation| (png::PARAMETERS, generation.parameters()));
    let graph = cx.graph()?.map(|graph| (png::GRAPH, graph));
    let key = cx.key().map(|key| (png::KEY, key.to_string()));
    Ok([parameters, graph, key].into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use flow_engine::Event;

    use super::*;
    use crate::picture::testing::{House, dots};

    fn save(count: u64, path: &str) -> String {
        format!(
            r#""dots": Dots(count: {count}, width: 4, height: 3),
               "out": SaveImages(images: "dots", path: "{path}")"#
        )
    }

    #[test]
    fn a_folder_gets_a_numbered_file_per_picture_and_the_pictures_go_on() {
        let house = House::new();
        let ran = house.run(&save(3, "out/bear/"));
        assert_eq!(house.names("out/bear"), ["00.png", "01.png", "02.png"]);
        assert_eq!(ran.told(|event| matches!(event, Event::Preview { .. })), 3);
        assert_eq!(ran.told(|event| matches!(event, Event::Progress { total: 3, .. })), 3);
        let expected: Vec<_> = (0..3).map(|seed| dots(seed, 4, 3)).collect();
        assert_eq!(ran.pictures("out"), expected);
    }

    #[test]
    fn numbers_have_as_many_digits_as_they_need() {
        let house = House::new();
        house.run(&save(101, "out"));
        let names = house.names("out");
        assert_eq!((names[0].as_str(), names[100].as_str()), ("000.png", "100.png"));
    }

    #[test]
    fn a_file_tells_its_parameters_its_graph_and_its_key() {
        let house = House::new();
        let ran = house.run(&save(1, "out/one.png"));
        let texts = png::texts(&house.read("out/one.png")).unwrap();
        let keywords: Vec<_> = texts.iter().map(|(keyword, _)| keyword.as_str()).collect();
        assert_eq!(keywords, [png::PARAMETERS, png::GRAPH, png::KEY]);
        assert!(texts[0].1.contains("Seed: 0, Size: 64x48"), "{}", texts[0].1);
        assert!(texts[1].1.contains(r#"SaveImages(images: "dots", path: "out/one.png")"#), "{}", texts[1].1);
        let is_key = |event: &Event| matches!(event, Event::NodeStarted { key: Some(key), .. } if key.to_string() == texts[2].1);
        assert_eq!(ran.told(is_key), 1);
    }

    #[test]
    fn the_graph_in_a_file_makes_the_same_file_again() {
        let house = House::new();
        let nodes = r#""dots": Dots(count: 3, width: 8, height: 8),
                       "grid": Grid(images: ["dots", "dots"], captions: None, columns: 2, cell: 16),
                       "out": SaveImages(images: "grid", path: "out/\u{1f9f8}.png")"#;
        assert_eq!(house.run(nodes).mistakes, [""; 0]);
        let written = house.read("out/\u{1f9f8}.png");
        let graph = png::texts(&written).unwrap().into_iter().find(|(keyword, _)| keyword == png::GRAPH);
        let graph = graph.unwrap().1;
        let nodes = graph.trim().strip_prefix("Graph(\n    nodes: {").unwrap().strip_suffix("},\n)").unwrap();
        let elsewhere = House::new();
        assert_eq!(elsewhere.run(nodes).mistakes, [""; 0]);
        assert_eq!(elsewhere.read("out/\u{1f9f8}.png"), written);
    }

    #[test]
    fn a_second_run_writes_nothing() {
        let house = House::new();
        let modified = || std::fs::metadata(house.root().join("out/00.png")).unwrap().modified().unwrap();
        house.run(&save(1, "out"));
        let first = modified();
        std::thread::sleep(std::time::Duration::from_millis(20));
        house.run(&save(1, "out"));
        assert_eq!(modified(), first);
        house.run(&save(2, "out"));
        assert_ne!(modified(), first);
    }

    #[test]
    fn two_pictures_do_not_go_into_one_file() {
        let house = House::new();
        let ran = house.run(&save(2, "out/bear.png"));
        let expected = "`out/bear.png` is one file, and `dots` gives 2 pictures";
        assert!(
            ran.mistake().contains(expected) && ran.mistake().contains("such as `out/bear`"),
            "{}",
            ran.mistake()
        );
        assert!(!house.root().join("out").exists());
    }

    #[test]
    fn no_pictures_are_a_mistake() {
        let ran = House::new().run(&save(0, "out"));
        assert!(ran.mistake().contains("`dots` gives no picture to save"), "{}", ran.mistake());
    }

    #[test]
    fn an_output_below_a_file_is_found_before_the_run_and_again_in_it() {
        let house = House::new();
        house.write("out", "a file");
        for path in ["out/bear", "out/bear.png", "out"] {
            let ran = house.run(&save(1, path));
            assert!(ran.mistake().contains("out is a file, not a folder"), "{}", ran.mistake());
            assert_eq!(ran.places, [format!("\"{path}\"")]);
            let ran = house.run_unchecked(&save(1, path));
            assert!(ran.mistake().contains("out is a file, not a folder"), "{}", ran.mistake());
        }
        assert_eq!(house.names("."), ["out"]);
    }

    #[test]
    fn a_path_that_cannot_be_meant_is_refused_before_the_run() {
        let house = House::new();
        std::fs::create_dir_all(house.root().join("folder.png")).unwrap();
        for (path, expected) in [
            ("out/bear.jpg", "`out/bear.jpg` ends in .jpg, and pictures are saved as PNG"),
            ("", "the path is empty"),
            ("folder.png", "`folder.png` ends in .png and is a folder"),
        ] {
            let ran = house.run(&save(1, path));
            assert!(ran.mistake().starts_with(expected), "{}", ran.mistake());
            assert!(ran.events.is_empty());
        }
    }
}

//! Pictures out of the whole program, on the embedded model.

use super::Workshop;

pub(super) fn pixels(workshop: &Workshop, path: &str) -> Vec<u8> {
    image::open(workshop.path(path)).unwrap_or_else(|error| panic!("{path}: {error}")).into_rgb8().into_raw()
}

/// The greatest difference of two pictures, in levels.
pub(super) fn difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn picture_i_is_the_one_that_a_single_run_with_seed_plus_i_makes() {
    let workshop = Workshop::new();
    workshop.graph(
        r#""base": MODEL,
        "many": DDIMSample(model: "base", prompt: "a photo of a fox", steps: 4, seed: 5, count: 3, eta: 0.5),
        "one": DDIMSample(model: "base", prompt: "a photo of a fox", steps: 4, seed: 7, eta: 0.5),
        "a": SaveImages(images: "many", path: "out/many"),
        "b": SaveImages(images: "one", path: "out/one.png")"#,
    );
    workshop.run(&[]);
    assert_eq!(difference(&pixels(&workshop, "out/many/02.png"), &pixels(&workshop, "out/one.png")), 0);
    assert_ne!(pixels(&workshop, "out/many/01.png"), pixels(&workshop, "out/one.png"));
}

#[test]
fn the_same_graph_gives_the_same_bytes_with_any_number_of_jobs_and_writes_them_once() {
    let workshop = Workshop::new();
    workshop.graph(
        r#""base": MODEL,
        "a": DDIMSample(model: "base", prompt: "a bee", steps: 2), "b": DDIMSample(model: "base", prompt: "a cow", steps: 2),
        "sheet": Grid(images: ["a", "b"]),
        "out": SaveImages(images: "sheet", path: "out/sheet.png")"#,
    );
    workshop.run(&["--jobs", "1"]);
    let first = std::fs::read(workshop.path("out/sheet.png")).unwrap();
    let written = std::fs::metadata(workshop.path("out/sheet.png")).unwrap().modified().unwrap();
    workshop.run(&["--jobs", "4"]);
    assert_eq!(std::fs::read(workshop.path("out/sheet.png")).unwrap(), first);
    assert_eq!(std::fs::metadata(workshop.path("out/sheet.png")).unwrap().modified().unwrap(), written);
}

#[test]
fn an_encoded_prompt_draws_what_the_prompt_draws_and_an_empty_prompt_is_allowed() {
    let workshop = Workshop::new();
    workshop.graph(
        r#""base": MODEL,
        "words": EncodePrompt(model: "base", prompt: "a frog", negative_prompt: ""),
        "a": DDIMSample(model: "base", conditioning: "words", steps: 2),
        "b": DDIMSample(model: "base", prompt: "a frog", negative_prompt: "", steps: 2),
        "c": DDIMSample(model: "base", prompt: "", steps: 2),
        "x": SaveImages(images: "a", path: "a.png"), "y": SaveImages(images: "b", path: "b.png"),
        "z": SaveImages(images: "c", path: "c.png")"#,
    );
    workshop.run(&[]);
    assert_eq!(pixels(&workshop, "a.png"), pixels(&workshop, "b.png"));
    assert_ne!(pixels(&workshop, "a.png"), pixels(&workshop, "c.png"));
}

#[test]
fn half_precision_draws_nearly_the_same_picture() {
    let workshop = Workshop::new();
    workshop.graph(
        r#""base": MODEL, "p": DDIMSample(model: "base", prompt: "a photo of a panda", steps: 10),
        "out": SaveImages(images: "p", path: "p.png")"#,
    );
    workshop.run(&[]);
    let exact = pixels(&workshop, "p.png");
    // The mean distance in levels of ten steps: float16 rounds to 11 bits, bfloat16 to 8.
    for (dtype, tolerance) in [("f16", 1.0), ("bf16", 6.0)] {
        workshop.run(&["--dtype", dtype]);
        let rounded = pixels(&workshop, "p.png");
        let sum: f64 = exact.iter().zip(&rounded).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        let mean = sum / exact.len() as f64;
        assert!(mean > 0.0 && mean < tolerance, "{dtype}: {mean}");
    }
}

#[test]
fn a_picture_carries_the_graph_that_draws_it_again() {
    let workshop = Workshop::new();
    workshop.graph(
        r#""base": MODEL, "p": DDIMSample(model: "base", prompt: "a photo of a panda", steps: 2),
        "out": SaveImages(images: "p", path: "p.png")"#,
    );
    workshop.run(&["--set", "p.seed=11"]);
    let (first, texts) = (pixels(&workshop, "p.png"), texts(&workshop, "p.png"));
    let parameters = &texts["parameters"];
    assert!(
        parameters.starts_with(
            "a photo of a panda\nSteps: 2, Sampler: DDIM, CFG scale: 5, Seed: 11, Size: 64x64, Model hash: "
        ),
        "{parameters}"
    );
    assert_eq!(texts["flow_key"].len(), 64);
    std::fs::remove_file(workshop.path("p.png")).unwrap();
    std::fs::write(workshop.path("graphs/test.ron"), &texts["flow"]).unwrap();
    workshop.run(&[]);
    assert_eq!(pixels(&workshop, "p.png"), first);
}

pub(super) fn texts(workshop: &Workshop, path: &str) -> std::collections::HashMap<String, String> {
    let file = std::io::BufReader::new(std::fs::File::open(workshop.path(path)).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    let info = reader.info();
    let plain = info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
    let wide = info.utf8_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap()));
    plain.chain(wide).collect()
}

//! Every sampler node on the embedded model: seeds, pictures to begin with, inversion.

use super::Workshop;
use super::pictures::{difference, pixels, texts};

/// Every sampler, without its closing bracket.
const SAMPLERS: [(&str, &str); 5] = [
    ("ddim", "DDIMSample(model: \"base\", eta: 0.5"),
    ("euler", "EulerSample(model: \"base\""),
    ("ancestral", "EulerAncestralSample(model: \"base\""),
    ("dpmpp", "DpmppSample(model: \"base\", karras: false"),
    ("karras", "DpmppSample(model: \"base\""),
];

/// The mean distance in levels.
fn distance(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

/// Adds a node for each sampler, and one that saves its pictures in a folder of that name.
fn with_every_sampler(before: &str, fields: &str) -> String {
    let nodes = SAMPLERS.iter().map(|(name, node)| {
        format!(",\n\"{name}\": {node}, {fields}), \"save {name}\": SaveImages(images: \"{name}\", path: \"{name}\")")
    });
    format!("\"base\": MODEL{before}{}", nodes.collect::<String>())
}

#[test]
fn picture_i_of_every_sampler_is_the_one_of_seed_plus_i_from_noise_and_from_a_picture() {
    for image in ["", ", image: \"photo\", strength: 0.5"] {
        let photo = r#", "photo": EulerSample(model: "base", prompt: "a photo of a dog", steps: 4)"#;
        let draw = |seed_and_count: &str| {
            let workshop = Workshop::new();
            let fields = format!("prompt: \"a photo of a fox\", steps: 6, {seed_and_count}{image}");
            workshop.graph(&with_every_sampler(photo, &fields)).run(&[]);
            SAMPLERS.map(|(name, _)| {
                let of = |i: usize| pixels(&workshop, &format!("{name}/{i:02}.png"));
                let count = std::fs::read_dir(workshop.path(name)).unwrap().count();
                (0..count).map(of).collect::<Vec<_>>()
            })
        };
        let (many, one) = (draw("seed: 5, count: 3"), draw("seed: 7"));
        for (i, (name, _)) in SAMPLERS.iter().enumerate() {
            // Three pictures go through the network together, and sums in another order round differently.
            assert!(difference(&many[i][2], &one[i][0]) <= 1, "{name}{image}");
            assert!(difference(&many[i][1], &one[i][0]) > 10, "{name}{image}");
        }
        for (i, j) in [(0, 1), (1, 2), (1, 3), (3, 4)] {
            assert_ne!(one[i], one[j], "{} and {}", SAMPLERS[i].0, SAMPLERS[j].0);
        }
    }
}

/// The less a picture is changed, the nearer the result is to it; changed wholly, it hardly matters which it was.
#[test]
fn strength_says_how_much_of_a_picture_is_left() {
    let drawn = [0.1, 0.5, 1.0].map(|strength| {
        ["a photo of a dog", "a photo of a rocket"].map(|photo| {
            let workshop = Workshop::new();
            let before = format!(
                r#", "photo": EulerSample(model: "base", prompt: "{photo}", steps: 10),
                "save photo": SaveImages(images: "photo", path: "photo.png")"#
            );
            let fields = format!(
                "prompt: \"a photo of a fox\", steps: 10, seed: 3, image: \"photo\", strength: {strength}"
            );
            workshop.graph(&with_every_sampler(&before, &fields)).run(&[]);
            let given = pixels(&workshop, "photo.png");
            SAMPLERS.map(|(name, _)| (given.clone(), pixels(&workshop, &format!("{name}/00.png"))))
        })
    });
    for (i, (name, _)) in SAMPLERS.iter().enumerate() {
        let changed = drawn.each_ref().map(|of| distance(&of[0][i].0, &of[0][i].1));
        let apart = drawn.each_ref().map(|of| distance(&of[0][i].1, &of[1][i].1));
        println!("{name}: changed by {changed:.1?} levels, apart by {apart:.1?}");
        assert!(changed[0] < changed[1] && changed[0] < changed[2], "{name}: {changed:?}");
        assert!(apart[0] > apart[1] && apart[1] > apart[2], "{name}: {apart:?}");
    }
}

#[test]
fn several_pictures_are_drawn_over_with_one_seed_each_at_their_own_size() {
    let workshop = Workshop::new();
    let save = |name: &str, width, height| {
        let path = workshop.path(&format!("photos/{name}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8 * 3, y as u8 * 3, 90]))
            .save(path)
            .unwrap();
    };
    save("1.png", 64, 48);
    save("2.png", 32, 64);
    workshop.graph(
        r#""base": MODEL, "photos": LoadImages(path: "photos"), "second": LoadImages(path: "photos/2.png"),
        "both": EulerAncestralSample(model: "base", prompt: "a fox", steps: 4, seed: 8, image: "photos"),
        "one": EulerAncestralSample(model: "base", prompt: "a fox", steps: 4, seed: 9, image: "second"),
        "a": SaveImages(images: "both", path: "both"), "b": SaveImages(images: "one", path: "one.png")"#,
    );
    workshop.run(&[]);
    let size = |path: &str| image::image_dimensions(workshop.path(path)).unwrap();
    assert_eq!([size("both/00.png"), size("both/01.png")], [(64, 48), (32, 64)]);
    assert_eq!(pixels(&workshop, "both/01.png"), pixels(&workshop, "one.png"));
    let parameters = &texts(&workshop, "both/01.png")["parameters"];
    let expected = "Steps: 4, Sampler: Euler a, CFG scale: 5, Seed: 9, Size: 32x64, ";
    assert!(
        parameters.contains(expected) && parameters.ends_with("Denoising strength: 0.75"),
        "{parameters}"
    );
}

/// Of pictures that the model drew itself; measured 4.4 levels, and 28 with another prompt.
#[test]
fn an_inverted_picture_is_drawn_again_and_another_prompt_varies_it() {
    let workshop = Workshop::new();
    workshop.graph(
        r#""base": MODEL,
        "photos": DDIMSample(model: "base", prompt: "a photo of a dog", steps: 30, count: 2, guidance: 1),
        "noise": DDIMInvert(model: "base", images: "photos", prompt: "a photo of a dog"),
        "again": DDIMSample(model: "base", prompt: "a photo of a dog", latents: "noise", guidance: 1),
        "fox": DDIMSample(model: "base", prompt: "a photo of a fox", latents: "noise", guidance: 1),
        "a": SaveImages(images: "photos", path: "photos"), "b": SaveImages(images: "again", path: "again"),
        "c": SaveImages(images: "fox", path: "fox")"#,
    );
    workshop.run(&[]);
    let of = |path: &str| pixels(&workshop, path);
    for i in ["00.png", "01.png"] {
        let photo = of(&format!("photos/{i}"));
        let again = distance(&photo, &of(&format!("again/{i}")));
        let fox = distance(&photo, &of(&format!("fox/{i}")));
        println!("{i}: again {again:.2}, as a fox {fox:.2}");
        assert!(again < 8.0, "{again}");
        assert!(fox > 1.5 * again, "{fox} for {again}");
    }
}

/// What cannot be known before the run.
#[test]
fn what_a_walk_cannot_begin_with_is_refused_by_name() {
    let cases = [
        (r#"image: "photo""#, "the picture `photo` is 65x48 pixels, and both must be multiples of 4"),
        (r#"image: "good", width: 32"#, "`width` is 32, but the picture `good` is 64x48"),
        (r#"image: "all", count: 2"#, "`count` is 2, but `all` gives 2 to begin with"),
        (r#"latents: "noise", height: 64"#, "`height` is 64, but the picture of the latents `good` is 64x48"),
    ];
    for (fields, expected) in cases {
        let workshop = Workshop::new();
        std::fs::create_dir_all(workshop.path("in")).unwrap();
        image::RgbImage::new(65, 48).save(workshop.path("in/photo.png")).unwrap();
        image::RgbImage::new(64, 48).save(workshop.path("in/good.png")).unwrap();
        workshop.graph(&format!(
            r#""base": MODEL, "photo": LoadImages(path: "in/photo.png"), "good": LoadImages(path: "in/good.png"),
            "all": LoadImages(path: "in"), "noise": DDIMInvert(model: "base", images: "good", prompt: "", steps: 1),
            "p": DpmppSample(model: "base", prompt: "x", steps: 2, {fields})"#
        ));
        let call = workshop.call("run", &[]);
        assert_ne!(call.code, Some(0), "{fields}");
        assert!(call.stderr.contains(expected), "{fields}: {}", call.stderr);
    }
}

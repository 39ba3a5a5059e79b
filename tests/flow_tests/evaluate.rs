//! Measuring pictures with the real program: scores, comparisons, plots and pages, and what cannot be measured.

use std::fs;

use serde_json::Value;

use super::page::fits_every_width;
use super::{Workshop, root};

/// Nodes that measure pictures of a subject, with the training pictures as `photos` and the judge as `CLIP`.
fn graph(workshop: &Workshop, nodes: &str) {
    let data = root().join("data/mini-dreambooth");
    let clip = root().join("models/mini-sdxl/clip");
    let photos = data.join("bear_plushie");
    let nodes = nodes.replace("CLIP", &format!("{clip:?}")).replace("DATA", &data.display().to_string());
    workshop.graph(&format!("\"photos\": LoadImages(path: {photos:?}),\n{nodes}"));
}

fn report(workshop: &Workshop, path: &str) -> Value {
    serde_json::from_slice(&fs::read(workshop.path(path)).unwrap()).unwrap()
}

/// The mean of a column.
fn mean(report: &Value, column: &str) -> f64 {
    let columns = report["columns"].as_array().unwrap();
    let at = columns.iter().position(|name| name == column).unwrap_or_else(|| panic!("{columns:?}"));
    let rows = report["rows"].as_array().unwrap();
    rows.iter().map(|row| row[at].as_f64().unwrap()).sum::<f64>() / rows.len() as f64
}

fn said(report: &Value) -> String {
    report["notes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|note| note.as_str().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn pictures_of_the_subject_are_nearer_to_it_than_those_of_another_and_named_in_words_that_fit() {
    let workshop = Workshop::new();
    let evaluate = |name: &str, images: &str, prompt: &str| {
        format!(
            r#""{name}": Evaluate(images: "{images}", reference: "photos", prompt: "{prompt}", clip: CLIP),
            "save {name}": SaveReport(report: "{name}", path: "out/{name}.json"),"#
        )
    };
    let nodes = [
        r#""cat": LoadImages(path: "DATA/cat"),"#.to_owned(),
        evaluate("same", "photos", "a photo of a bear"),
        evaluate("other", "cat", "a photo of a cat"),
        evaluate("wrong", "cat", "a photo of a bear"),
    ];
    graph(&workshop, &nodes.concat());
    let call = workshop.run(&[]);
    let of = |name: &str| report(&workshop, &format!("out/{name}.json"));
    let image = "image alignment (CLIP)";
    assert!(mean(&of("same"), image) > mean(&of("other"), image) + 0.2);
    let text = "text alignment (CLIP)";
    assert!(mean(&of("other"), text) > mean(&of("wrong"), text) + 0.1);
    // LPIPS has no files here: that is told in the report and on the screen, and is no zero.
    assert!(said(&of("same")).contains("Not measured: image alignment (1 - LPIPS)"), "{}", said(&of("same")));
    assert!(call.stderr.contains("Not measured: image alignment (1 - LPIPS)"), "{}", call.stderr);
    assert_eq!(
        of("same")["rows"][0].as_array().unwrap().len(),
        of("same")["columns"].as_array().unwrap().len()
    );
}

#[test]
fn methods_are_compared_picture_by_picture_and_shown_on_one_page() {
    let workshop = Workshop::new();
    let draw = |name: &str, guidance: f64| {
        format!(
            r#""{name}": DDIMSample(model: "base", prompt: "a photo of a cat", count: 6, steps: 4, guidance: {guidance}),
            "s {name}": Evaluate(images: "{name}", reference: "photos", clip: CLIP, runs: 2,
                measures: [Diversity, TextAlignment, ImageAlignment]),"#
        )
    };
    let nodes = [
        r#""base": MODEL,"#.to_owned(),
        draw("weak", 1.0),
        draw("strong", 7.0),
        r#""both": Compare(reports: ["s weak", "s strong"], names: ["weak <b>", "strong"], title: "Guidance"),
        "save": SaveReport(report: "both", path: "out/both.json"),
        "plot": Plot(report: "both"),
        "page": Report(title: "A page", reports: ["both", "s weak"], images: ["plot"], path: "out/page.html"),"#
            .to_owned(),
    ];
    graph(&workshop, &nodes.concat());
    workshop.run(&[]);
    let both = report(&workshop, "out/both.json");
    let row = |method: &str, measure: &str| -> Vec<Value> {
        let rows = both["rows"].as_array().unwrap();
        let found = rows.iter().find(|row| row[0] == method && row[1] == measure);
        found.unwrap_or_else(|| panic!("{rows:?}")).as_array().unwrap().clone()
    };
    let text = row("strong", "text alignment (CLIP)");
    assert_eq!((text[2].as_u64(), text[3].as_u64(), &text[12]), (Some(6), Some(2), &Value::from("yes")));
    let (low, difference, high) = (text[10].as_f64(), text[9].as_f64(), text[11].as_f64());
    assert!(low < difference && difference < high, "{text:?}");
    let diversity = row("weak <b>", "SSIM within the set");
    assert!(diversity[7].as_f64() < diversity[4].as_f64(), "{diversity:?}");
    assert!(both["settings"]["CLIP"].as_str().unwrap().contains("models/mini-sdxl/clip ("), "{both}");
    let page = fs::read_to_string(workshop.path("out/page.html")).unwrap();
    assert!(
        page.contains("weak &lt;b&gt;") && page.contains("data:image/svg+xml") && page.contains("<strong>")
    );
    assert!(!page.contains("http://") && !page.contains("https://"), "a page asks nobody for anything");
    fits_every_width(&workshop.path("out/page.html"));
}

#[test]
fn what_cannot_be_measured_is_told_with_what_to_do() {
    let refusals = [
        (
            r#"Evaluate(images: "photos", prompt: "a bear", clip: CLIP, runs: 2)"#,
            "5 pictures cannot be 2 runs of the same length",
        ),
        (r#"Evaluate(images: "photos", prompt: "A LONG TEXT", clip: CLIP)"#, "tokens long, and"),
        (r#"Evaluate(images: "photos", clip: "nowhere")"#, "`nowhere` is no folder"),
        (r#"Evaluate(images: "photos", measures: [])"#, "nothing is to be measured"),
        (
            r#"Evaluate(images: "photos", measures: [Diversity], lpips_trunk: "graphs/test.ron")"#,
            "`lpips_trunk` and `lpips_heads` belong together",
        ),
        (
            r#"Evaluate(images: "photos", measures: [Diversity], lpips_trunk: "no", lpips_heads: "no")"#,
            "`no` is no file",
        ),
        (
            r#"Evaluate(images: "photos", measures: [Diversity]), "twice": Compare(reports: ["it", "it"], names: ["a", "a"])"#,
            "`it` is given twice as `a`",
        ),
        (r#"Compare(reports: [])"#, "a comparison needs at least one report"),
        (r#"Report(title: "t", path: "out/page.pdf")"#, "does not end in .html"),
    ];
    for (node, told) in refusals {
        let workshop = Workshop::new();
        graph(
            &workshop,
            &format!("\"it\": {}", node.replace("A LONG TEXT", &"a very long text ".repeat(20))),
        );
        let call = workshop.call("run", &[]);
        assert_ne!(call.code, Some(0), "{node}");
        assert!(call.stderr.contains(told), "{node}: {}", call.stderr);
    }
}

/// A folder of pictures of one colour, with these widths.
fn plain(workshop: &Workshop, folder: &str, colour: u8, widths: &[u32]) {
    fs::create_dir_all(workshop.path(folder)).unwrap();
    for (at, &width) in widths.iter().enumerate() {
        let picture = image::RgbImage::from_pixel(width, 32, image::Rgb([colour; 3]));
        picture.save(workshop.path(&format!("{folder}/{at}.png"))).unwrap();
    }
}

#[test]
fn black_pictures_have_numbers_one_has_no_pair_and_sizes_that_differ_are_named() {
    let workshop = Workshop::new();
    plain(&workshop, "black", 0, &[32, 32]);
    plain(&workshop, "one", 9, &[32]);
    plain(&workshop, "mixed", 9, &[32, 40]);
    graph(
        &workshop,
        r#""black": LoadImages(path: "black"), "one": LoadImages(path: "one"),
        "it": Evaluate(images: "black", prompt: "a bear", clip: CLIP, reference: "photos"),
        "save": SaveReport(report: "it", path: "out/it.json"),
        "alone": Evaluate(images: "one", prompt: "a bear", clip: CLIP),
        "save alone": SaveReport(report: "alone", path: "out/alone.json")"#,
    );
    workshop.run(&[]);
    let it = report(&workshop, "out/it.json");
    assert_eq!(mean(&it, "SSIM within the set"), 1.0);
    assert!(mean(&it, "image alignment (CLIP)").is_finite());
    let alone = report(&workshop, "out/alone.json");
    assert!(said(&alone).contains("a run of one picture has no pair"), "{}", said(&alone));
    graph(&workshop, r#""mixed": LoadImages(path: "mixed"), "it": Evaluate(images: "mixed", clip: CLIP)"#);
    let call = workshop.call("run", &[]);
    assert!(
        call.code == Some(1) && call.stderr.contains("`1` has 40 x 32 pixels, and `0` 32 x 32"),
        "{}",
        call.stderr
    );
}

#[test]
fn a_table_of_adapters_says_what_they_cost() {
    let workshop = Workshop::new();
    graph(
        &workshop,
        r#""base": MODEL,
        "lora": Train(model: "base", images: "photos", prompt: "x", method: Lora(rank: 1, layers: CAO), steps: 3, sample_every: 0),
        "costs": AdapterReport(adapters: ["lora"], names: ["LoRA"]),
        "save": SaveReport(report: "costs", path: "out/costs.json")"#,
    );
    workshop.run(&[]);
    let costs = report(&workshop, "out/costs.json");
    let row = costs["rows"][0].as_array().unwrap();
    assert_eq!((&row[0], row[5].as_u64(), row.len()), (&Value::from("LoRA"), Some(3), 8));
    let (seconds, of_a_step) = (row[6].as_f64().unwrap(), row[7].as_f64().unwrap());
    assert!(seconds > 0.0 && (seconds / 3.0 - of_a_step).abs() < 1e-9, "{costs}");
}

#[test]
fn reports_of_different_prompts_are_not_compared() {
    let workshop = Workshop::new();
    let draw = |prompt: &str| {
        format!(
            r#""{prompt}": DDIMSample(model: "base", prompt: "{prompt}", count: 2, steps: 1, guidance: 1.0),
            "s {prompt}": Evaluate(images: "{prompt}", measures: [Diversity]),"#
        )
    };
    let both = r#""both": Compare(reports: ["s a cat", "s a dog"])"#;
    graph(
        &workshop,
        &[r#""base": MODEL,"#.to_owned(), draw("a cat"), draw("a dog"), both.to_owned()].concat(),
    );
    let call = workshop.call("run", &[]);
    assert_ne!(call.code, Some(0));
    assert!(call.stderr.contains("is of `a cat`, and that of `s a dog` of `a dog`"), "{}", call.stderr);
}

#[test]
fn pictures_of_a_model_without_a_judge_are_measured_by_what_needs_none() {
    let workshop = Workshop::new();
    graph(
        &workshop,
        r#""it": Evaluate(images: "photos", prompt: "a bear"),
        "save": SaveReport(report: "it", path: "out/it.json"),
        "untold": Evaluate(images: "photos", clip: CLIP, measures: [Diversity, TextAlignment]),
        "save untold": SaveReport(report: "untold", path: "out/untold.json")"#,
    );
    workshop.run(&[]);
    let it = report(&workshop, "out/it.json");
    assert!(said(&it).contains("no model is known that drew `00`, and no judge is named"), "{}", said(&it));
    assert!(said(&it).contains("SSIM within the set: 0."), "{}", said(&it));
    let untold = report(&workshop, "out/untold.json");
    assert!(said(&untold).contains("nothing says what `00` is to show; give `prompt`"), "{}", said(&untold));
}

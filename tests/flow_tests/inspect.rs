//! `flow inspect`: what it prints of sizes.

use serde_json::Value;

use super::{flow, root};

/// The cells of the row with this rank below a subset's name, in the table under a head.
fn row(text: &str, head: &str, subset: &str, rank: &str) -> Vec<String> {
    let table = text.lines().skip_while(|line| !line.contains(head));
    let mut rows = table.skip_while(|line| line.split_whitespace().next() != Some(subset));
    let first = rows.next().unwrap_or_else(|| panic!("no {subset} under {head:?}"));
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let first = cells(first)[2..].to_vec(); // without subset and count
    std::iter::once(first).chain(rows.map(cells)).find(|row| row[0] == rank).unwrap()
}

#[test]
fn sizes_of_sdxl_stand_beside_those_of_the_paper() {
    let call = flow(root(), &["inspect", "--sizes", "sdxl"]);
    assert_eq!((call.code, call.stderr.as_str()), (Some(0), ""));
    let text = call.stdout;
    assert!(text.contains("794 linear layers") && text.contains("48 of 48 come out"), "{text}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (head, subset, rank, expected) in [
        ("equation 8", "ExCA", "2", "2 771,200 1.51 MiB 2,160,346 4.26 MiB"),
        ("equation 8", "ExCA", "128", "128 11,543,040 22.06 MiB 30,541,146 58.39 MiB"),
        ("Literal", "ExCA", "16", "16 18,444,800 35.25 MiB 36,142,588 69.14 MiB"),
        ("Table 3", "ExCA", "16", "16 6,128,640 13M 13M 16,873,306 33M 33M"),
        ("Table 3", "ExSA", "2", "2 771,200 1.9M 1.9M 2,160,346 4.8M 4.8M"),
        ("Table 3", "SAO", "32", "32 10,649,600 21M - 21,299,480 42M -"),
        ("Table 3", "ExCA-HL-Last", "128", "128 40,960 82K 82K 409,601 803K 803K"),
    ] {
        assert_eq!(row(&text, head, subset, rank), words(expected), "{subset} at {rank} under {head}");
    }
    assert!(text.contains("`Literal(ExSA)`") && text.contains("`Literal(SCA)`"), "{text}");
    let mut tables = text.lines().take_while(|line| !line.contains("`Literal"));
    assert!(tables.all(|line| line.chars().count() <= 80 && line.trim_end() == line), "{text}");
}

#[test]
fn sizes_are_json_for_programs() {
    let call = flow(root(), &["inspect", "--sizes", "sdxl", "--json"]);
    let report: Value = serde_json::from_str(&call.stdout).unwrap();
    assert_eq!((&report["layers"], &report["gamma"]), (&794.into(), &"1/40".into()));
    let subsets = report["subsets"].as_array().unwrap();
    assert_eq!(subsets.len(), 16);
    let literal = &subsets[8];
    assert_eq!((&literal["name"], &literal["reading"]), (&"Literal(ExCA)".into(), &"appendix_b".into()));
    assert_eq!(literal["ranks"][0]["bounded"]["para"]["bytes"], 4_692_264);
    assert!(literal["ranks"][0]["paper"].is_null());
    let last = &subsets[7]["ranks"][3];
    assert_eq!((&subsets[7]["subset"], &last["rank"]), (&"ExCA-HL-Last".into(), &128.into()));
    assert_eq!(
        (&last["paper"]["lora"]["bytes"], &last["paper"]["lora"]["printed"]),
        (&821_859.into(), &"803K".into())
    );
}

#[test]
fn a_model_that_is_not_known_is_told_with_the_one_that_is() {
    let call = flow(root(), &["inspect", "--sizes", "flux"]);
    assert!(call.code == Some(2) && call.stderr.contains("sdxl"), "{}", call.stderr);
}

fn inspected(path: &str) -> Value {
    let call = flow(root(), &["inspect", path, "--json"]);
    assert_eq!((call.code, call.stderr.as_str()), (Some(0), ""));
    serde_json::from_str(&call.stdout).unwrap()
}

#[test]
fn an_adapter_is_told_with_its_methods_layers_ranks_and_norms() {
    let report = inspected("tests/golden/adapters/lora_kohya.safetensors");
    assert_eq!(
        (&report["what"], &report["adapter"]["methods"][0]),
        (&"an adapter: LoRA".into(), &"LoRA".into())
    );
    assert_eq!(report["metadata"]["ss_network_module"], "networks.lora");
    let layers = report["adapter"]["layers"].as_array().unwrap();
    let layer = &layers[0];
    assert_eq!(layer["layer"], "lora_te1_text_model_encoder_layers_0_mlp_fc1");
    assert_eq!((&layer["network"], &layer["rank"]), (&"text_encoder".into(), &4.into()));
    let norms = layer["tensors"].as_array().unwrap().iter().filter(|tensor| tensor["piece"] != "alpha");
    let squares: f64 = norms.map(|tensor| tensor["norm"].as_f64().unwrap().powi(2)).sum();
    assert!((layer["norm"].as_f64().unwrap() - squares.sqrt()).abs() < 1e-12, "{layer}");
    let networks = report["adapter"]["networks"].as_array().unwrap();
    let counted: u64 = networks.iter().map(|network| network["layers"].as_u64().unwrap()).sum();
    assert_eq!((networks.len(), counted), (3, layers.len() as u64));

    let para = inspected("tests/golden/adapters/para_a.safetensors");
    assert_eq!(para["what"], "an adapter: PaRa");
    let last = &para["adapter"]["layers"][1];
    assert_eq!(
        (&last["layer"], &last["rank"], &last["network"]),
        (&"conv_out".into(), &1.into(), &"unet".into())
    );
    assert_eq!(para["total"]["dtypes"][0], "F32");
}

#[test]
fn an_adapter_is_drawn_as_tables() {
    let call = flow(root(), &["inspect", "tests/golden/adapters/para_a.safetensors"]);
    assert_eq!(call.code, Some(0));
    let text = call.stdout;
    assert!(text.starts_with("tests/golden/adapters/para_a.safetensors: an adapter: PaRa\n"), "{text}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let row = text.lines().map(words).find(|row| row.last().is_some_and(|last| last == "conv_out"));
    let row = row.unwrap();
    assert_eq!((row[0].as_str(), row[2].as_str(), row[3].as_str()), ("1", "F32", "PaRa"));
    assert!(text.lines().any(|line| words(line) == ["gamma", "0.25"]), "{text}");
}

#[test]
fn a_model_is_told_with_its_networks() {
    let folder = inspected("models/mini-sdxl");
    assert_eq!(folder["what"], "an SDXL model as diffusers saves it");
    assert_eq!(folder["notes"].as_array().unwrap().len(), 0);
    let names = |report: &Value| -> Vec<String> {
        let networks = report["networks"].as_array().unwrap().iter();
        networks.map(|network| network["network"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&folder), ["clip", "text_encoder", "text_encoder_2", "unet", "vae"]);
    let single = inspected("tests/golden/tiny-sdxl.safetensors");
    assert_eq!(single["what"], "an SDXL checkpoint");
    assert_eq!(names(&single), ["unet", "vae", "text_encoder", "text_encoder_2"]);
    let [whole, parts] = [&single["total"], &single["networks"]];
    let sum: u64 = parts.as_array().unwrap().iter().map(|part| part["parameters"].as_u64().unwrap()).sum();
    assert_eq!(whole["parameters"].as_u64().unwrap(), sum);
    let text = flow(root(), &["inspect", "tests/golden/tiny-sdxl.safetensors"]).stdout;
    assert!(text.contains("text_encoder_2") && text.contains("F16"), "{text}");
}

#[test]
fn a_new_word_is_told_with_its_token() {
    let report = inspected("tests/golden/adapters/textual_inversion.safetensors");
    assert_eq!(report["what"], "a textual inversion");
    assert_eq!(
        (&report["word"]["token"], &report["word"]["vectors"]),
        (&"textual_inversion".into(), &2.into())
    );
}

#[test]
fn what_is_no_weights_is_refused_with_the_reason() {
    let workshop = super::Workshop::new();
    let bytes = std::fs::read(root().join("tests/golden/adapters/para_a.safetensors")).unwrap();
    std::fs::write(workshop.path("cut.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(workshop.path("empty.safetensors"), "").unwrap();
    std::fs::write(workshop.path("page.safetensors"), "<html>not found</html>").unwrap();
    std::fs::write(workshop.path("old.ckpt"), "").unwrap();
    std::fs::write(workshop.path("none.safetensors"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
    std::fs::create_dir(workshop.path("folder")).unwrap();
    for (path, said) in [
        ("cut.safetensors", "bytes, but the file has"),
        ("empty.safetensors", "has 0 bytes: it is not a safetensors file"),
        ("page.safetensors", "is not a safetensors file"),
        ("old.ckpt", "is a Python pickle"),
        ("none.safetensors", "holds no tensor"),
        ("folder", "is a folder without `model_index.json`"),
        (".", "name a file in it, such as `./cut.safetensors`"),
        ("gone.safetensors", "does not exist"),
    ] {
        let call = flow(&workshop.path(""), &["inspect", path]);
        assert!(
            call.code == Some(2) && call.stderr.contains(said),
            "{path}: {:?} {}",
            call.code,
            call.stderr
        );
    }
    for arguments in [&["inspect"][..], &["inspect", "cut.safetensors", "--sizes", "sdxl"]] {
        assert_eq!(flow(&workshop.path(""), arguments).code, Some(2));
    }
}

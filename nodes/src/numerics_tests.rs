//! Results to the bit: a change that moves any of them has to raise the version of the numerics, or stores go on
//! serving what the code no longer makes.

use candle_core::{DType, Device, Tensor};
use flow_engine::{Digest, Document, Project, Ready, Run, Session, Settings, read_ron};

use crate::registry;

/// What the arithmetic of the machine gives that the digests below were taken on: processors with other vector
/// instructions add in another order, and differ in the last bits.
const MACHINE: &str = "c314f598d248";

/// The version of the numerics that the digests are of.
const NUMERICS: u32 = 3;

/// Per node of the graph, the first digits of its result's digest.
const RESULTS: [(&str, &str); 6] = [
    ("words", "b9ab6d1a47e3"),
    ("latents", "a862fcf0b5ff"),
    ("plain", "0010eb770cc4"),
    ("lora", "9e5cefc76229"),
    ("para", "5ae00646c121"),
    ("report", "be3b557b5728"),
];

const GRAPH: &str = r#"
    "base": LoadSDXL(path: "TINY"),
    "words": EncodePrompt(model: "base", prompt: "a (red:1.2) bear"),
    "plain": DDIMSample(model: "base", conditioning: "words", steps: 2, seed: 5),
    "latents": DDIMInvert(model: "base", images: "plain", prompt: "a bear", steps: 2),
    "lora file": LoadAdapter(path: "ADAPTERS/lora_kohya.safetensors"),
    "lora model": ApplyLoRA(model: "base", lora: "lora file"),
    "lora": EulerSample(model: "lora model", prompt: "a bear", steps: 2, guidance: 7),
    "para file": LoadAdapter(path: "ADAPTERS/para_a.safetensors"),
    "para model": ApplyPaRa(model: "base", para: "para file"),
    "para": DpmppSample(model: "para model", prompt: "a bear", steps: 2),
    "report": RankReport(model: "para model"),
"#;

/// A digest of what the machine's arithmetic gives for numbers that never change.
fn machine() -> Digest {
    let numbers = |rows: usize, columns: usize| {
        let sines: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 0.37).sin()).collect();
        Tensor::from_vec(sines, (rows, columns), &Device::Cpu).unwrap()
    };
    let product = numbers(96, 200).matmul(&numbers(200, 96)).unwrap();
    let all = (product.gelu_erf().unwrap() + product.exp().unwrap()).unwrap();
    let sums = all.sum(0).unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
    let bytes: Vec<u8> = sums.into_iter().flat_map(f32::to_le_bytes).collect();
    Digest::of(&bytes)
}

#[test]
fn results_that_moved_have_a_version_of_their_own() {
    let registry = registry();
    assert_eq!(registry.numerics, NUMERICS, "take the digests of {RESULTS:?} again for the new version");
    let machine = machine().short();
    if machine != MACHINE {
        println!(
            "SKIPPED: this machine ({machine}) rounds otherwise than the one of the digests ({MACHINE})"
        );
        return;
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let golden = root.join("tests/golden");
    let text = GRAPH
        .replace("TINY", &golden.join("tiny-sdxl").display().to_string())
        .replace("ADAPTERS", &golden.join("adapters").display().to_string());
    let settings = Settings { device: flow_engine::Device::Cpu, dtype: flow_engine::Dtype::F32 };
    let session = Session::new(registry, settings, Project::at(root));
    let document = Document::new("graph.ron", format!("Graph(nodes: {{ {text} }})"));
    let ready = Ready::checked(read_ron(document, &[], &session.registry), &session);
    let ready = ready.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let digests = Run::new(&ready, &session).execute().digests;
    let found = RESULTS.map(|(node, _)| (node, digests.get(node).map(Digest::short).unwrap_or_default()));
    let expected = RESULTS.map(|(node, digest)| (node, digest.to_owned()));
    assert_eq!(
        found, expected,
        "results moved: raise NUMERICS in registry.rs, and then write these digests here"
    );
}

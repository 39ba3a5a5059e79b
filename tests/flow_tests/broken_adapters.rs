//! Adapters that cannot be used are refused when the graph is checked, with everything that is wrong.

use super::{Call, Workshop};

/// A layer of the embedded model's denoiser, `[64, 64]`.
const TO_Q: &str = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q";

/// A tensor of one value: its name, its shape, the value.
type Filled = (String, Vec<usize>, f32);

/// The bytes of a safetensors file.
fn file(tensors: &[Filled]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, value) in tensors {
        let start = data.len();
        let count = shape.iter().product::<usize>();
        data.extend(std::iter::repeat_n(value.to_le_bytes(), count).flatten());
        let info = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(name.clone(), info);
    }
    let header = serde_json::Value::from(header).to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// What the program says when an adapter of these bytes is applied to the embedded model.
fn applied(node: &str, bytes: &[u8]) -> Call {
    let workshop = Workshop::new();
    std::fs::write(workshop.path("adapter.safetensors"), bytes).unwrap();
    workshop.graph(&format!(
        r#""base": MODEL,
        "adapter": LoadAdapter(path: "adapter.safetensors"),
        "changed": {node},
        "ranks": RankReport(model: "changed"),"#
    ));
    workshop.call("run", &["--ui", "plain"])
}

const PARA: &str = r#"ApplyPaRa(model: "base", para: "adapter")"#;
const LORA: &str = r#"ApplyLoRA(model: "base", lora: "adapter")"#;

/// What is said of tensors that cannot be applied; the graph is invalid.
fn refused(node: &str, tensors: &[Filled]) -> String {
    let call = applied(node, &file(tensors));
    assert_eq!(call.code, Some(2), "{}", call.stderr);
    call.stderr
}

fn says(told: &str, words: &[&str]) {
    for word in words {
        assert!(told.contains(word), "`{word}` in:\n{told}");
    }
}

fn para(columns: usize) -> Filled {
    (format!("unet.{TO_Q}.para_q"), vec![64, columns], 0.5)
}

fn lora(module: &str, [d, k]: [usize; 2], alpha: f32) -> Vec<Filled> {
    vec![
        (format!("{module}.lora_down.weight"), vec![4, k], 0.01),
        (format!("{module}.lora_up.weight"), vec![d, 4], 0.01),
        (format!("{module}.alpha"), vec![], alpha),
    ]
}

#[test]
fn a_lora_for_sd_1_5_is_called_by_its_name() {
    let module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";
    let told = refused(LORA, &lora(module, [320, 768], 4.0));
    says(&told, &["SD 1.x", "the model is SDXL", "graphs/test.ron:4"]);
}

#[test]
fn a_span_of_more_columns_than_the_layer_has_ranks_is_refused() {
    says(&refused(PARA, &[para(65)]), &["65 columns", "rank is at most 64", TO_Q]);
}

#[test]
fn everything_that_fits_no_layer_is_told_at_once() {
    let tensors = [
        para(2),
        ("unet.mid_block.nowhere.para_q".into(), vec![64, 2], 0.5),
        ("unet.conv_in.para_q".into(), vec![7, 2], 0.5),
    ];
    let told = refused(PARA, &tensors);
    says(&told, &["`unet.mid_block.nowhere` is no layer", "7 rows", "allow_unmatched"]);
}

#[test]
fn what_fits_no_layer_is_left_out_with_a_warning_if_that_is_asked_for() {
    let tensors = [para(2), ("unet.mid_block.nowhere.para_q".into(), vec![64, 2], 0.5)];
    let node = r#"ApplyPaRa(model: "base", para: "adapter", allow_unmatched: true)"#;
    let call = applied(node, &file(&tensors));
    assert_eq!(call.code, Some(0), "{}", call.stderr);
    says(&call.stderr, &["1 layers of `adapter` are left out", "mid_block.nowhere"]);
}

#[test]
fn values_that_are_no_numbers_fail_the_node_that_reads_them() {
    for value in [f32::NAN, f32::INFINITY] {
        let (name, shape, _) = para(2);
        let call = applied(PARA, &file(&[(name, shape, value)]));
        assert_eq!(call.code, Some(1), "{}", call.stderr);
        says(&call.stderr, &["holds a NaN or an infinity", TO_Q, "its training diverged"]);
    }
}

#[test]
fn an_adapter_without_tensors_is_refused() {
    says(&refused(PARA, &[]), &["holds no tensor"]);
}

#[test]
fn a_file_that_is_no_adapter_is_called_by_what_it_is() {
    says(
        &refused(PARA, &[("decoder.conv_in.weight".into(), vec![4, 4], 0.0)]),
        &["an autoencoder", "no adapter"],
    );
}

#[test]
fn two_tensors_for_one_layer_are_refused_by_both_names() {
    let tensors = [para(2), (format!("{TO_Q}.para_B"), vec![64, 2], 0.5)];
    says(&refused(PARA, &tensors), &[&format!("`unet.{TO_Q}` and"), &format!("`{TO_Q}`")]);
}

#[test]
fn alpha_0_is_refused() {
    let module = format!("lora_unet_{}", TO_Q.replace('.', "_"));
    says(&refused(LORA, &lora(&module, [64, 64], 0.0)), &["alpha 0", "change nothing"]);
}

#[test]
fn a_truncated_adapter_is_refused() {
    let mut bytes = file(&[para(2)]);
    bytes.truncate(bytes.len() - 5);
    let call = applied(PARA, &bytes);
    assert_eq!(call.code, Some(2), "{}", call.stderr);
    says(&call.stderr, &["adapter.safetensors", "download it again"]);
}

#[test]
fn a_scale_for_what_has_none_is_refused() {
    let node = r#"ApplyAdapter(model: "base", adapter: "adapter", scale: 0.5)"#;
    says(&refused(node, &[para(2)]), &["PaRa, which has no scale"]);
}

#[test]
fn another_method_than_the_nodes_is_refused() {
    says(&refused(LORA, &[para(2)]), &["`adapter` is PaRa, and LoRA, LoHa, LoKr is wanted", "ApplyAdapter"]);
}

#[test]
fn tensors_of_no_method_are_all_told() {
    let tensors = [para(2), ("some.thing".into(), vec![3], 0.0), ("other.thing".into(), vec![2, 2], 0.0)];
    says(&refused(PARA, &tensors), &["`some.thing` [3]", "`other.thing` [2, 2]", "is a piece of no method"]);
}

#[test]
fn a_para_behind_a_lora_says_how_much_it_erases() {
    let workshop = Workshop::new();
    let module = format!("lora_unet_{}", TO_Q.replace('.', "_"));
    std::fs::write(workshop.path("para.safetensors"), file(&[para(1)])).unwrap();
    std::fs::write(workshop.path("lora.safetensors"), file(&lora(&module, [64, 64], 4.0))).unwrap();
    workshop.graph(
        r#""base": MODEL,
        "para": LoadAdapter(path: "para.safetensors"),
        "lora": LoadAdapter(path: "lora.safetensors"),
        "first": ApplyLoRA(model: "base", lora: "lora"),
        "both": ApplyPaRa(model: "first", para: "para"),
        "ranks": RankReport(model: "both"),
        "order": OrderReport(model: "base", first: "lora", second: "para"),
        "saved": SaveReport(report: "order", path: "order.json"),"#,
    );
    let call = workshop.run(&["--ui", "plain"]);
    // All columns are multiples of one, so that nothing of the LoRA is left.
    says(&call.stderr, &["`para` removes 100.0 % of what `lora` added"]);
    let report = std::fs::read_to_string(workshop.path("order.json")).unwrap();
    says(&report, &["erases 100.00 %"]);
}

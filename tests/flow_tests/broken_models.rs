//! Models that cannot be used are refused before a weight is read, or named where only a weight
//! can tell.

use super::Workshop;

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

/// What is told of a model after something was done to its denoiser's weights.
fn told_after(breaking: impl Fn(&mut Vec<u8>)) -> (Workshop, super::Call) {
    let workshop = Workshop::new();
    let file = workshop.model_copy().join(UNET);
    let mut bytes = std::fs::read(&file).unwrap();
    breaking(&mut bytes);
    std::fs::write(&file, bytes).unwrap();
    workshop
        .graph(r#""base": LoadSDXL(path: "model"), "p": DDIMSample(model: "base", prompt: "x", steps: 1)"#);
    let call = workshop.call("check", &[]);
    (workshop, call)
}

#[test]
fn a_truncated_file_is_refused_at_the_path_that_names_its_model() {
    let (_workshop, call) = told_after(|bytes| bytes.truncate(bytes.len() / 2));
    assert_eq!(call.code, Some(2));
    assert!(call.stderr.contains("unet/diffusion_pytorch_model.safetensors"), "{}", call.stderr);
    assert!(call.stderr.contains("graphs/test.ron:2:24"), "{}", call.stderr);
}

#[test]
fn a_header_that_promises_more_than_the_file_holds_is_refused() {
    let (_workshop, call) = told_after(|bytes| bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes()));
    assert_eq!(call.code, Some(2));
    assert!(call.stderr.contains("header"), "{}", call.stderr);
}

#[test]
fn a_weight_that_is_no_number_fails_the_node_that_reads_it() {
    let (workshop, call) = told_after(|bytes| {
        let last = bytes.len() - 2;
        bytes[last..].copy_from_slice(&0x7e00_u16.to_le_bytes());
    });
    assert_eq!(call.code, Some(0), "headers are fine: {}", call.stderr);
    let call = workshop.call("run", &[]);
    assert_eq!(call.code, Some(1));
    assert!(call.stderr.contains("`p` failed") && call.stderr.contains("NaN"), "{}", call.stderr);
}

#[test]
fn missing_unexpected_and_misshaped_tensors_are_told_together() {
    let (_workshop, call) = told_after(|bytes| {
        // Names of the same length, so that the header keeps its size.
        rename(bytes, "conv_in.bias", "conv_up.bias");
        rename(bytes, "\"shape\":[4,32,3,3]", "\"shape\":[4,3,32,3]");
    });
    assert_eq!(call.code, Some(2));
    for said in [
        "`conv_in.bias` [32] is missing",
        "`conv_up.bias` [32] is not expected",
        "`conv_out.weight` is [4, 3, 32, 3]",
    ] {
        assert!(call.stderr.contains(said), "{said} in {}", call.stderr);
    }
}

#[test]
fn pickles_are_refused_with_the_reason() {
    let workshop = Workshop::new();
    let model = workshop.model_copy();
    std::fs::rename(model.join(UNET), model.join("unet/diffusion_pytorch_model.bin")).unwrap();
    workshop.graph(r#""base": LoadSDXL(path: "model")"#);
    let call = workshop.call("check", &[]);
    assert_eq!(call.code, Some(2));
    assert!(call.stderr.contains("pickle") && call.stderr.contains("safetensors"), "{}", call.stderr);
}

#[test]
fn single_files_run_with_the_configuration_and_autoencoder_that_they_are_given() {
    let workshop = Workshop::new();
    let golden = super::root().join("tests/golden");
    let (file, folder) = (golden.join("tiny-sdxl.safetensors"), golden.join("tiny-sdxl"));
    workshop.graph(&format!(
        r#""base": LoadSDXL(path: {file:?}, config: {folder:?}, vae: {:?}),
        "p": DDIMSample(model: "base", prompt: "x", steps: 1),"#,
        folder.join("vae")
    ));
    workshop.run(&[]);
}

#[test]
fn what_does_not_go_with_a_model_is_told_at_its_own_field() {
    let workshop = Workshop::new();
    let model = workshop.model_copy();
    std::fs::copy(model.join("text_encoder/model.safetensors"), workshop.path("text.safetensors")).unwrap();
    for (fields, place, said) in [
        (
            r#"path: "model", config: "model""#,
            ":2:41",
            "`model` is a folder, which has its own configuration",
        ),
        (r#"path: "model", config: "none""#, ":2:41", "`none` does not exist"),
        (r#"path: "model", vae: "text.safetensors""#, ":2:38", "is a text encoder alone, not an autoencoder"),
        (r#"path: "text.safetensors""#, ":2:24", "is a text encoder alone; Flow runs SDXL"),
        (r#"path: "text.safetensors", config: "text.safetensors""#, ":2:52", "is not a folder"),
    ] {
        workshop.graph(&format!(r#""base": LoadSDXL({fields})"#));
        let call = workshop.call("check", &[]);
        assert_eq!(call.code, Some(2), "{fields}");
        let place = format!("graphs/test.ron{place}");
        assert!(call.stderr.contains(said) && call.stderr.contains(&place), "{place} {}", call.stderr);
    }
}

#[test]
fn a_damaged_tokenizer_is_told_before_anything_runs() {
    let workshop = Workshop::new();
    std::fs::write(workshop.model_copy().join("tokenizer/tokenizer.json"), "{").unwrap();
    workshop.graph(r#""base": LoadSDXL(path: "model")"#);
    let call = workshop.call("check", &[]);
    assert!(call.code == Some(2) && call.stderr.contains("tokenizer.json"), "{}", call.stderr);
}

#[test]
fn noise_that_no_model_was_trained_with_is_refused() {
    let workshop = Workshop::new();
    let scheduler = workshop.model_copy().join("scheduler/scheduler_config.json");
    let text = std::fs::read_to_string(&scheduler).unwrap();
    std::fs::write(&scheduler, text.replace("\"beta_start\": 0.00085", "\"beta_start\": -1")).unwrap();
    workshop.graph(r#""base": LoadSDXL(path: "model")"#);
    let call = workshop.call("check", &[]);
    assert!(call.code == Some(2) && call.stderr.contains("`beta_start` is -1"), "{}", call.stderr);
}

fn rename(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect(from);
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}

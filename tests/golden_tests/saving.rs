//! What is saved is what was there: models as folders and as single files, adapters in their own form and in ours.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use flow_engine::Digest;
use flow_nodes::adapter::fold::Scales;
use flow_nodes::adapter::write::FileDtype;
use flow_nodes::adapter::{Single, read, save};
use flow_nodes::model::{Form, Model};
use flow_nodes::sdxl::files::WeightFiles;
use flow_nodes::sdxl::{Checkpoint, Compute, Part};

use super::adapters::{adapter, base, eps, weight, with};
use super::single::{self, same_tensors};
use super::support::{close, file, repository};

fn save_model(model: &Model, path: &Path, form: Form, dtype: FileDtype) -> bool {
    model.save(path, form, dtype, &Compute::cpu(), &mut |_, _| Ok(())).unwrap()
}

/// A saved model, opened with the configuration of the folder that it was made from.
fn reopened(path: &Path, form: Form, configuration: &Path) -> Model {
    let checkpoint = match form {
        Form::Folder => Checkpoint::open(path).unwrap(),
        Form::File => single::open(path, configuration),
    };
    Model::new(checkpoint, Digest::of(b"saved"))
}

/// Whichever form it is saved in and whichever type, a model keeps every bit of its weights, which float16 holds.
#[track_caller]
fn comes_back(folder: &Path) {
    let plain = Model::new(Checkpoint::open(folder).unwrap(), Digest::of(b"plain"));
    let house = tempfile::tempdir().unwrap();
    for (form, name) in [(Form::Folder, "model"), (Form::File, "model.safetensors")] {
        for (dtype, stored) in [(FileDtype::F32, DType::F32), (FileDtype::F16, DType::F16)] {
            let path = house.path().join(name);
            assert!(save_model(&plain, &path, form, dtype), "a new one");
            assert!(!save_model(&plain, &path, form, dtype), "the same one");
            let saved = reopened(&path, form, folder);
            same_tensors(saved.checkpoint(), plain.checkpoint(), DType::F32);
            let files = Part::ALL.map(|part| saved.checkpoint().weights(part));
            for (files, name) in files.iter().flat_map(|files| files.shapes().map(move |(n, _)| (files, n))) {
                assert_eq!(files.read(name).unwrap().dtype(), stored, "{name}");
            }
        }
    }
    assert_eq!(std::fs::read_dir(house.path()).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn golden_the_tiny_model_is_saved_bit_for_bit() {
    let Some(folder) = file("tiny-sdxl") else { return };
    comes_back(&folder);
}

#[test]
fn golden_the_embedded_model_is_saved_bit_for_bit() {
    comes_back(&repository().join("models/mini-sdxl"));
}

#[test]
fn golden_a_saved_single_file_has_the_names_and_shapes_of_the_reference() {
    let (Some(reference), Some(base)) = (file(single::WHOLE), base()) else { return };
    let house = tempfile::tempdir().unwrap();
    let path = house.path().join("model.safetensors");
    save_model(&base, &path, Form::File, FileDtype::F16);
    let layout = |path: &Path| -> Vec<(String, Vec<usize>)> {
        let files = WeightFiles::open_file(path).unwrap();
        let carried = |name: &str| !name.ends_with("position_ids") && !name.ends_with("logit_scale");
        let shapes = files.shapes().filter(|(name, _)| carried(name));
        shapes.map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect()
    };
    assert_eq!(layout(&path), layout(&reference));
}

#[test]
fn golden_a_model_saved_with_adapters_predicts_what_it_predicted() {
    let (Some(base), Some(folder)) = (base(), file("tiny-sdxl")) else { return };
    let model = with(&with(&base, "lora_kohya", 0.7).unwrap(), "para_a", 1.0).unwrap();
    let expected = eps(&model);
    let house = tempfile::tempdir().unwrap();
    for (form, name) in [(Form::Folder, "model"), (Form::File, "model.safetensors")] {
        let path = house.path().join(name);
        save_model(&model, &path, form, FileDtype::F32);
        close(&format!("{form:?}"), &eps(&reopened(&path, form, &folder)), &expected, 1e-6);
    }
}

#[test]
fn golden_a_model_saved_with_adapters_reads_what_it_read() {
    let (Some(base), Some(adapter)) = (base(), adapter("lora_kohya")) else { return };
    let model = base.with(&adapter, Scales::both(1.0), false).unwrap();
    let house = tempfile::tempdir().unwrap();
    let path = house.path().join("model");
    save_model(&model, &path, Form::Folder, FileDtype::F32);
    let saved = reopened(&path, Form::Folder, &path);
    let read = |model: &Model| -> Tensor {
        let text = model.build_text(&Compute::cpu()).unwrap();
        let (ids, ids_2) = text.tokenizers.encode(&["a photo"]).unwrap();
        text.encoders.forward(&ids, &ids_2).unwrap().prompt_embeds
    };
    close("texts", &read(&saved), &read(&model), 1e-6);
    let unet = WeightFiles::open_file(&path.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    assert!(unet.metadata()["adapters"].contains("lora_kohya"), "{:?}", unet.metadata());
    assert_eq!(unet.metadata()["base_digest"], base.base_digest().to_string());
}

#[test]
fn golden_a_model_that_is_given_up_leaves_what_was_there() {
    let Some(base) = base() else { return };
    let house = tempfile::tempdir().unwrap();
    for (form, name) in [(Form::Folder, "model"), (Form::File, "model.safetensors")] {
        let path = house.path().join(name);
        save_model(&base, &path, form, FileDtype::F16);
        let changed = with(&base, "lora_kohya", 1.0).unwrap();
        let mut enough = |done, _| if done < 400 { Ok(()) } else { Err(flow_engine::Cancelled.into()) };
        let error = changed.save(&path, form, FileDtype::F16, &Compute::cpu(), &mut enough).unwrap_err();
        assert!(error.downcast_ref::<flow_engine::Cancelled>().is_some(), "{error:#}");
        assert!(!save_model(&base, &path, form, FileDtype::F16), "the base is still there");
    }
    assert_eq!(std::fs::read_dir(house.path()).unwrap().count(), 2, "nothing else is left");
}

/// An adapter of the set, and the same one saved and read again.
fn saved(name: &str, dtype: Option<FileDtype>) -> Option<(Single, Single)> {
    let path: PathBuf = file(&format!("adapters/{name}.safetensors"))?;
    let single = read::open(&path, Digest::of(b"before")).unwrap();
    let house = tempfile::tempdir().unwrap();
    let copy = house.path().join(format!("{name}.safetensors"));
    let write = || {
        let mut bytes = Vec::new();
        save::file(&single, dtype).unwrap().write(&mut bytes).unwrap();
        bytes
    };
    let bytes = write();
    assert_eq!(bytes, write(), "always the same bytes");
    std::fs::write(&copy, bytes).unwrap();
    let again = read::open(&copy, Digest::of(b"after")).unwrap();
    Some((single, again))
}

#[test]
fn golden_every_method_is_saved_with_its_names_and_to_the_last_bit() {
    for name in [
        "lora_kohya",
        "lora_peft",
        "lora_diffusers_down_up",
        "locon_tucker",
        "loha",
        "lokr",
        "oft_kohya",
        "oft_peft",
        "svdiff",
        "textual_inversion",
    ] {
        let Some((before, after)) = saved(name, None) else { return };
        let (before, after) = (before.files(), after.files());
        assert_eq!(before.shapes().collect::<Vec<_>>(), after.shapes().collect::<Vec<_>>(), "{name}");
        for (tensor, _) in before.shapes() {
            let (one, other) = (before.read(tensor).unwrap(), after.read(tensor).unwrap());
            assert_eq!(one.dtype(), other.dtype(), "{name}: {tensor}");
            assert_eq!(numbers(&one), numbers(&other), "{name}: {tensor}");
        }
        for (key, value) in before.metadata() {
            assert_eq!(after.metadata().get(key), Some(value), "{name}");
        }
    }
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn golden_what_was_made_is_saved_byte_by_byte_in_whatever_form() {
    let Some(path) = file("adapters/para_a.safetensors") else { return };
    let made = std::fs::read(path).unwrap();
    let single = read::of_bytes("made", made.clone()).unwrap();
    let mut saved = Vec::new();
    save::file(&single, None).unwrap().write(&mut saved).unwrap();
    assert!(saved == made);
}

#[test]
fn golden_a_para_that_peft_made_goes_into_its_folder_and_into_our_file() {
    let folder = repository().join("tests/data/peft-para");
    let single = read::open(&folder, Digest::of(b"before")).unwrap();
    let house = tempfile::tempdir().unwrap();
    for (name, contents) in save::folder(&single, None).unwrap() {
        let mut bytes = Vec::new();
        contents.write(&mut bytes).unwrap();
        std::fs::write(house.path().join(name), bytes).unwrap();
    }
    let mut bytes = Vec::new();
    save::file(&single, Some(FileDtype::F32)).unwrap().write(&mut bytes).unwrap();
    let ours = read::of_bytes("ours", bytes).unwrap();
    assert!(ours.files().shapes().all(|(name, _)| name.starts_with("unet.") && name.ends_with(".para_q")));
    let again = read::open(house.path(), Digest::of(b"again")).unwrap();
    let mini = Checkpoint::open(&repository().join("models/mini-sdxl")).unwrap();
    let mini = Model::new(mini, Digest::of(b"mini"));
    let apply = |single: Single| mini.with(&single.into(), Scales::both(1.0), false).unwrap();
    let (before, ours, again) = (apply(single), apply(ours), apply(again));
    for target in before.applied()[0].bound.targets() {
        let weight = |model: &Model| model.weight(target, &Device::Cpu).unwrap();
        assert_eq!(numbers(&weight(&again)), numbers(&weight(&before)));
        close(&target.tensor, &weight(&ours), &weight(&before), 1e-6);
    }
}

#[test]
fn golden_an_adapter_is_saved_in_the_type_that_is_asked_for() {
    let Some((_, after)) = saved("lora_peft", Some(FileDtype::F16)) else { return };
    for (name, _) in after.files().shapes() {
        assert_eq!(after.files().read(name).unwrap().dtype(), DType::F16);
    }
}

#[test]
fn golden_a_para_in_another_form_is_saved_in_ours_and_removes_the_same() {
    let Some(base) = base() else { return };
    // Rounding Q to float16 turns its span by 2e-4 (para-maths, section 5).
    for (dtype, stored, tolerance) in [(None, DType::F16, 1e-3), (Some(FileDtype::F32), DType::F32, 1e-5)] {
        let Some((before, after)) = saved("para_a", dtype) else { return };
        let files = after.files();
        assert_eq!(files.shapes().count(), before.files().shapes().count());
        for (name, shape) in files.shapes() {
            assert!(name.starts_with("unet.") && name.ends_with(".para_q"), "{name}");
            let q = files.read(name).unwrap();
            assert_eq!(q.dtype(), stored);
            let q = q.to_dtype(DType::F32).unwrap();
            let gram = q.t().unwrap().matmul(&q).unwrap();
            let unit = Tensor::eye(shape[1], DType::F32, &Device::Cpu).unwrap();
            close(name, &gram, &unit, tolerance);
        }
        assert_eq!(files.metadata()["format"], "para");
        assert_eq!(files.metadata()["gamma"], before.files().metadata()["gamma"]);
        let module = before.layers()[0].module.clone();
        let apply = |single: Single| base.with(&single.into(), Scales::both(1.0), false).unwrap();
        let (before, after) = (apply(before), apply(after));
        close("weight", &weight(&after, &module), &weight(&before, &module), tolerance);
        close("eps", &eps(&after), &eps(&before), 10.0 * tolerance);
        assert_eq!(after.applied()[0].bound.targets().count(), before.applied()[0].bound.targets().count());
    }
}

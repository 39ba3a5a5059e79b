//! Files that are not what they should be are named, with what is wrong and what to do.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use flow_engine::Problem;
use tempfile::TempDir;

use super::WeightFiles;

/// A folder with one weight file of these bytes.
fn folder_with(bytes: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    folder
}

/// A good file with one tensor `w` of these numbers.
fn good(numbers: &[f32], dtype: DType) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let tensor = Tensor::new(numbers, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    candle_core::safetensors::save(&HashMap::from([("w", tensor)]), &file).unwrap();
    std::fs::read(file).unwrap()
}

/// What opening says, without the temporary folder's name.
fn complaint(folder: &Path) -> String {
    let error = WeightFiles::open(folder, "model").unwrap_err();
    let hint = Problem::hint_of(&error).unwrap_or("none").to_owned();
    format!("{error:#}; hint: {hint}").replace(&format!("{}/", folder.display()), "")
}

#[test]
fn a_file_cut_short_is_recognized() {
    let bytes = good(&[1., 2., 3., 4.], DType::F32);
    let said = complaint(folder_with(&bytes[..bytes.len() - 5]).path());
    let (promised, size) = (bytes.len(), bytes.len() - 5);
    assert!(
        said.contains(&format!(
            "the header of `model.safetensors` promises {promised} bytes, but the file has {size}"
        )),
        "{said}"
    );
    assert!(said.contains("download it again"), "{said}");
}

#[test]
fn a_header_that_promises_more_than_can_be_counted_is_recognized() {
    let size = (1_u64 << 61) - 1;
    let tensor = |i: u64| {
        let [start, end] = [i * size, (i + 1) * size];
        format!(r#""{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{end}]}}"#)
    };
    let header = format!("{{{}}}", (0..8).map(tensor).collect::<Vec<_>>().join(","));
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    let said = complaint(folder_with(&bytes).path());
    let promised = (1_u128 << 64) - 8 + bytes.len() as u128;
    assert!(said.contains(&format!("promises {promised} bytes")), "{said}");
}

#[test]
fn a_header_cut_short_is_recognized() {
    let bytes = good(&[1.], DType::F32);
    let said = complaint(folder_with(&bytes[..20]).path());
    assert!(said.contains("`model.safetensors` promises a header of"), "{said}");
    assert!(said.contains("but has only 20"), "{said}");
}

#[test]
fn a_header_that_promises_more_than_there_is_is_recognized() {
    let mut bytes = good(&[1.], DType::F32);
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let said = complaint(folder_with(&bytes).path());
    assert!(said.contains("promises a header of 18446744073709551615 bytes"), "{said}");
}

#[test]
fn something_else_under_the_name_is_recognized() {
    let page = "<!DOCTYPE html><html>not found</html>";
    assert!(
        complaint(folder_with(page.as_bytes()).path())
            .contains("`model.safetensors` is not a safetensors file")
    );
    assert!(
        complaint(folder_with(b"").path())
            .contains("`model.safetensors` has 0 bytes: it is not a safetensors file")
    );
}

#[test]
fn a_header_that_is_no_table_of_tensors_is_recognized() {
    let json = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[4,1]}}"#;
    let bytes = [&(json.len() as u64).to_le_bytes()[..], json].concat();
    assert!(complaint(folder_with(&bytes).path()).contains("the header of `model.safetensors` is damaged"));
}

#[test]
fn pickles_are_refused_only_where_there_is_nothing_better() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.bin"), b"x").unwrap();
    let said = complaint(folder.path());
    assert!(said.contains("`model.bin` is a Python pickle: opening one can run any program"), "{said}");
    assert!(said.contains("safe_serialization=True"), "{said}");

    std::fs::write(folder.path().join("model.safetensors"), good(&[1.], DType::F32)).unwrap();
    assert!(WeightFiles::open(folder.path(), "model").is_ok());
}

#[test]
fn an_empty_folder_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    assert!(complaint(folder.path()).starts_with("there is no `model.safetensors` in `"));
}

#[test]
fn numbers_that_are_none_are_found_when_they_are_read() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let folder = folder_with(&good(&[1., -2., bad, 0.], dtype));
            let files = WeightFiles::open(folder.path(), "model").unwrap();
            let said = format!("{:#}", files.read("w").unwrap_err());
            assert!(
                said.contains("`w` in `") && said.contains("model.safetensors` holds a NaN or an infinity"),
                "{said}"
            );
        }
    }
}

#[test]
fn numbers_too_large_for_float16_are_not_made_infinite() {
    let folder = folder_with(&good(&[1., -1e6], DType::F32));
    let files = WeightFiles::open(folder.path(), "model").unwrap();
    let said = format!("{:#}", files.convert("w", &Device::Cpu, DType::F16).unwrap_err());
    assert!(said.contains("holds 1000000, too large for f16"), "{said}");
    let wide = files.convert("w", &Device::Cpu, DType::F32).unwrap();
    assert_eq!(wide.to_vec1::<f32>().unwrap(), [1., -1e6]);
}

#[test]
fn a_shard_that_lacks_what_the_index_lists_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.safetensors"), good(&[1.], DType::F32)).unwrap();
    let index = r#"{"weight_map": {"w": "a.safetensors", "v": "a.safetensors"}}"#;
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let said = complaint(folder.path());
    assert!(said.contains("`model.safetensors.index.json` lists tensors that no shard has: v"), "{said}");

    let index = r#"{"weight_map": {"w": "../a.safetensors"}}"#;
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    assert!(complaint(folder.path()).contains("which is not in its folder"));
}

/// Puts one tensor `w` into `folder`, as the shards of an index.
fn shards(folder: &Path, index: &str, shard: &str, bytes: &[u8]) {
    std::fs::write(folder.join(shard), bytes).unwrap();
    let map = format!(r#"{{"weight_map": {{"w": "{shard}"}}}}"#);
    std::fs::write(folder.join(index), map).unwrap();
}

#[test]
fn full_precision_is_taken_before_halves_whether_whole_or_in_shards() {
    let folder = tempfile::tempdir().unwrap();
    let taken = || {
        let files = WeightFiles::open(folder.path(), "model").unwrap();
        files.read("w").unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap()[0]
    };
    let half = |value| good(&[value], DType::F16);
    shards(folder.path(), "model.fp16.safetensors.index.json", "model.fp16-1-of-1.safetensors", &half(4.));
    assert_eq!(taken(), 4.);
    std::fs::write(folder.path().join("model.fp16.safetensors"), half(3.)).unwrap();
    assert_eq!(taken(), 3.);
    let full = good(&[2.], DType::F32);
    shards(folder.path(), "model.safetensors.index.json", "model-1-of-1.safetensors", &full);
    assert_eq!(taken(), 2.);
    std::fs::write(folder.path().join("model.safetensors"), good(&[1.], DType::F32)).unwrap();
    assert_eq!(taken(), 1.);
}

#[test]
fn shards_that_are_not_all_there_give_way_to_what_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let full = good(&[2.], DType::F32);
    shards(folder.path(), "model.safetensors.index.json", "model-1-of-1.safetensors", &full);
    std::fs::remove_file(folder.path().join("model-1-of-1.safetensors")).unwrap();
    assert!(complaint(folder.path()).contains("cannot open `model-1-of-1.safetensors`"));
    std::fs::write(folder.path().join("model.fp16.safetensors"), good(&[3.], DType::F16)).unwrap();
    let files = WeightFiles::open(folder.path(), "model").unwrap();
    assert_eq!(files.files(), [folder.path().join("model.fp16.safetensors")]);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_instead_of_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = crate::picture::testing::pipe(folder.path(), "model.safetensors");
    let said =
        crate::picture::testing::at_once(move || format!("{:#}", WeightFiles::open_file(&pipe).unwrap_err()));
    assert!(said.ends_with("model.safetensors` is not a file"), "{said}");
}

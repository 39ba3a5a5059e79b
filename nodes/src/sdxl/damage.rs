//! Why a weight file cannot be opened, in words for whoever has it.

use std::path::Path;

use flow_engine::Problem;
use safetensors::tensor::{Metadata, SafeTensorError};

/// Why a file cannot be read, in terms of its bytes.
pub(super) fn damaged(path: &Path, bytes: &[u8], cause: &SafeTensorError) -> Problem {
    let (file, size) = (path.display(), bytes.len());
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Problem::new(format!("`{file}` has {size} bytes: it is not a safetensors file"));
    };
    let header = u64::from_le_bytes(*length);
    if rest.first() != Some(&b'{') {
        if begins_as_pickle(bytes) {
            return pickle(path);
        }
        return Problem::new(format!("`{file}` is not a safetensors file"))
            .hint("is it a checkpoint of another format, or a web page saved under this name?");
    }
    let again = "the download was cut short or the file is damaged: download it again";
    let Some(json) = usize::try_from(header).ok().and_then(|n| rest.get(..n)) else {
        return Problem::new(format!("`{file}` promises a header of {header} bytes, but has only {size}"))
            .hint(again);
    };
    // The sum may be more than any file holds.
    match serde_json::from_slice::<Metadata>(json).map(|m| m.data_len() as u128 + u128::from(header) + 8) {
        Ok(promised) if promised != size as u128 => {
            Problem::new(format!("the header of `{file}` promises {promised} bytes, but the file has {size}"))
                .hint(again)
        }
        _ => Problem::new(format!("the header of `{file}` is damaged: {cause}")).hint(again),
    }
}

/// Why there is nothing to open.
pub(super) fn absent(folder: &Path, stem: &str) -> Problem {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    match entries.into_iter().find(|path| is_pickle(path)) {
        Some(file) => pickle(&file),
        None => Problem::new(format!("there is no `{stem}.safetensors` in `{}`", folder.display()))
            .hint("the folder is not a complete diffusers model: download it again"),
    }
}

/// Whether a file's name is one that Python's pickles have.
pub(super) fn is_pickle(file: &Path) -> bool {
    let extension = file.extension().and_then(|e| e.to_str());
    matches!(extension, Some("bin" | "ckpt" | "pt" | "pth" | "pkl"))
}

/// Whether bytes that are no safetensors begin as PyTorch's files do: zip archives now, bare pickles before.
fn begins_as_pickle(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || matches!(bytes, [0x80, 2..=5, ..])
}

/// The refusal of a pickle.
pub(super) fn pickle(file: &Path) -> Problem {
    let message =
        format!("`{}` is a Python pickle: opening one can run any program, so Flow does not", file.display());
    Problem::new(message).hint(
        "get the safetensors of this model, \
         or save it again with `pipe.save_pretrained(folder, safe_serialization=True)`",
    )
}

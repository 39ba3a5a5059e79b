//! The numbers inside a tensor.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

/// What an operation says whose tensors are not all on one device.
pub(super) const ELSEWHERE: &str = "a tensor of this operation is on another device";

/// The numbers of a contiguous tensor.
pub(super) fn contiguous_f32<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("the numbers of a tensor that is not contiguous"),
    }
}

/// Calls with the numbers of a contiguous float32 tensor on the CPU.
pub(super) fn with_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    with_all([tensor], |[values]| f(values))
}

/// The same of a tensor that may be none.
pub(super) fn with_some<T>(tensor: Option<&Tensor>, f: impl FnOnce(Option<&[f32]>) -> T) -> Result<T> {
    match tensor {
        None => Ok(f(None)),
        Some(tensor) => with_values(tensor, |values| f(Some(values))),
    }
}

/// The same of several.
pub(super) fn with_all<T, const N: usize>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> T,
) -> Result<T> {
    let held = tensors.map(Tensor::storage_and_layout);
    let mut values = [&[][..]; N];
    for (values, (storage, layout)) in values.iter_mut().zip(&held) {
        match &**storage {
            Storage::Cpu(storage) => *values = contiguous_f32(storage, layout)?,
            _ => bail!("{ELSEWHERE}"),
        }
    }
    Ok(f(values))
}

//! Making pictures larger without inventing anything.

use candle_core::Tensor;
use flow_engine::Result;

/// `x` `[b, c, h, w]` to `[b, c, height, width]`, every pixel a copy of its nearest.
///
/// As `torch.nn.functional.interpolate(mode="nearest", size=..)`: source index `floor(i * from / to)` in float32.
/// Whole factors are repeated in place and others looked up, because candle's own upsampling loses gradients.
pub fn nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    if (height, width) == (h, w) {
        return Ok(x.clone());
    }
    if height.is_multiple_of(h) && width.is_multiple_of(w) {
        let (rows, columns) = (height / h, width / w);
        let repeated = x.reshape((b, c * h, 1, w, 1))?.broadcast_as((b, c * h, rows, w, columns))?;
        return Ok(repeated.reshape((b, c, height, width))?);
    }
    let rows = Tensor::new(sources(h, height), x.device())?;
    let columns = Tensor::new(sources(w, width), x.device())?;
    Ok(x.contiguous()?.index_select(&rows, 2)?.index_select(&columns, 3)?)
}

fn sources(from: usize, to: usize) -> Vec<u32> {
    let ratio = from as f32 / to as f32;
    (0..to).map(|i| ((i as f32 * ratio) as usize).min(from.saturating_sub(1)) as u32).collect()
}

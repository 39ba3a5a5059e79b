//! Pooling: the largest number of each window.

use candle_core::Tensor;
use flow_engine::Result;

/// Pixels from one window to the next.
const STRIDE: usize = 2;

/// The largest number of each window, every second pixel.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool {
    /// Side of a window in pixels, 2 or 3.
    pub window: usize,
    /// Whether a last window may reach over the edge (`ceil_mode` in PyTorch).
    pub ceil: bool,
}

impl MaxPool {
    /// Pixels that `pixels` become along an axis. None, if they are too few.
    pub fn length(&self, pixels: usize) -> Option<usize> {
        // PyTorch leaves out a last window that begins behind the edge; none does where windows overlap or touch.
        let over = if self.ceil { STRIDE - 1 } else { 0 };
        Some((pixels + over).checked_sub(self.window)? / STRIDE + 1)
    }

    /// How far the last window reaches over the edge.
    fn over(&self, pixels: usize) -> usize {
        self.length(pixels).map_or(0, |n| ((n - 1) * STRIDE + self.window).saturating_sub(pixels))
    }

    /// `[b, c, h, w]` to `[b, c, length(h), length(w)]`.
    ///
    /// # Errors
    /// A picture without a window.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        // What repeats the edge is no larger than the edge, which is in the same window.
        let x = x.pad_with_same(2, 0, self.over(h))?.pad_with_same(3, 0, self.over(w))?;
        Ok(x.max_pool2d_with_stride(self.window, STRIDE)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn pooled(window: usize, ceil: bool, rows: &[&[f32]]) -> Vec<Vec<f32>> {
        let (h, w) = (rows.len(), rows[0].len());
        let x = Tensor::from_vec(rows.concat(), (1, 1, h, w), &Device::Cpu).unwrap();
        let y = MaxPool { window, ceil }.forward(&x).unwrap();
        y.squeeze(0).unwrap().squeeze(0).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn pooling_leaves_out_or_takes_in_what_is_over() {
        let rows: [&[f32]; 4] = [
            &[-9.0, -2.0, -3.0, 4.0],
            &[-8.0, -7.0, -6.0, -5.0],
            &[1.0, 0.0, -1.0, 2.0],
            &[9.0, 3.0, 5.0, 8.0],
        ];
        assert_eq!(pooled(2, false, &rows), [[-2.0, 4.0], [9.0, 8.0]]);
        assert_eq!(pooled(3, false, &rows), [[1.0]]);
        assert_eq!(pooled(3, true, &rows), [[1.0, 4.0], [9.0, 8.0]]);
        assert_eq!(pooled(3, false, &[&rows[0][..3], &rows[1][..3], &rows[2][..3]]), [[1.0]]);
        assert_eq!(pooled(3, true, &[&rows[0][..3], &rows[1][..3], &rows[2][..3]]), [[1.0]]);
        assert_eq!(pooled(3, true, &[&rows[0][..2], &rows[1][..2]]), [[-2.0]], "smaller than the window");
        assert_eq!(MaxPool { window: 3, ceil: true }.length(1), None);
    }
}

//! How the loss went, short enough to stand in the metadata of an adapter's file.

/// Under which name metadata have it.
pub const LOSS_CURVE: &str = "loss_curve";
/// The most points that a curve has.
const POINTS: usize = 100;

/// A loss curve: equal spans of steps, each with its last step and the mean of its losses.
///
/// `losses` has one for each step, from the first on.
pub fn points(losses: &[f32]) -> Vec<(usize, f64)> {
    let span = losses.len().div_ceil(POINTS).max(1);
    let mean = |span: &[f32]| span.iter().copied().map(f64::from).sum::<f64>() / span.len() as f64;
    let ends = (1..).map(|count| (count * span).min(losses.len()));
    ends.zip(losses.chunks(span)).map(|(end, span)| (end, mean(span))).collect()
}

/// The curve as metadata say it: `[[10,0.123],[20,0.101]]`, five decimals each.
pub fn written(losses: &[f32]) -> String {
    let points = points(losses).into_iter().map(|(step, loss)| format!("[{step},{loss:.5}]"));
    format!("[{}]", points.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_curve_has_every_step_and_a_long_one_a_hundred_means() {
        assert_eq!(points(&[]), []);
        assert_eq!(written(&[0.5, 0.25]), "[[1,0.50000],[2,0.25000]]");
        let losses: Vec<f32> = (0..999).map(|step| step as f32).collect();
        let long = points(&losses);
        assert_eq!((long.len(), long[0], long[99]), (100, (10, 4.5), (999, 994.0)));
    }
}

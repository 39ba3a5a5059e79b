//! Rows: as near to the middle of the neighbours as the order allows.

use std::collections::HashMap;

use super::Zoom;
use super::columns::{Columns, Slot};

/// How often rows are moved to their neighbours, back and forth.
const SWEEPS: usize = 6;

/// The first row of everything.
pub fn rows(columns: &Columns, zoom: Zoom) -> HashMap<Slot, i32> {
    let mut rows: HashMap<Slot, f64> = HashMap::new();
    for slots in &columns.slots {
        let mut row = 0;
        for &slot in slots {
            rows.insert(slot, f64::from(row));
            row += columns.height(slot, zoom);
        }
    }
    let count = columns.slots.len();
    for sweep in 0..SWEEPS {
        let is_forward = sweep % 2 == 0;
        for step in 0..count {
            let layer = if is_forward { step } else { count - 1 - step };
            settle(columns, layer, is_forward, zoom, &mut rows);
        }
    }
    whole(columns, zoom, &rows)
}

/// Moves a layer to its neighbours before or after it.
fn settle(columns: &Columns, layer: usize, by_sources: bool, zoom: Zoom, rows: &mut HashMap<Slot, f64>) {
    let links = match by_sources {
        true => layer.checked_sub(1).and_then(|before| columns.links.get(before)),
        false => columns.links.get(layer),
    };
    let port = |slot| f64::from(columns.port(slot, zoom));
    let mut sums: HashMap<Slot, (f64, f64)> = HashMap::new();
    for link in links.into_iter().flatten() {
        let (mine, theirs) = if by_sources { (link.to, link.from) } else { (link.from, link.to) };
        let sum = sums.entry(mine).or_default();
        *sum = (sum.0 + rows[&theirs] + port(theirs), sum.1 + 1.0);
    }
    let slots = &columns.slots[layer];
    let wanted = slots.iter().map(|slot| match sums.get(slot) {
        Some((sum, count)) => sum / count - port(*slot),
        None => rows[slot],
    });
    let heights: Vec<f64> = slots.iter().map(|slot| f64::from(columns.height(*slot, zoom))).collect();
    let settled = apart(wanted.collect(), &heights);
    rows.extend(slots.iter().copied().zip(settled));
}

/// The rows nearest to those that are wanted (least squares) with room for every height, in the same order: pooling of
/// adjacent violators (Ayer and others 1955).
fn apart(wanted: Vec<f64>, heights: &[f64]) -> Vec<f64> {
    let offsets: Vec<f64> =
        heights.iter().scan(0.0, |sum, height| Some(std::mem::replace(sum, *sum + height))).collect();
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (wanted, offset) in wanted.iter().zip(&offsets) {
        let mut pool = (wanted - offset, 1);
        while let Some(last) = pools.pop_if(|last| last.0 > pool.0) {
            let count = last.1 + pool.1;
            pool = ((last.0 * last.1 as f64 + pool.0 * pool.1 as f64) / count as f64, count);
        }
        pools.push(pool);
    }
    let bases = pools.iter().flat_map(|(base, count)| std::iter::repeat_n(*base, *count));
    bases.zip(&offsets).map(|(base, offset)| base + offset).collect()
}

/// Whole rows, the first of all of them 0.
fn whole(columns: &Columns, zoom: Zoom, rows: &HashMap<Slot, f64>) -> HashMap<Slot, i32> {
    let first = rows.values().copied().fold(f64::INFINITY, f64::min);
    let mut whole = HashMap::with_capacity(rows.len());
    for slots in &columns.slots {
        let mut next = 0;
        for &slot in slots {
            let row = ((rows[&slot] - first).round() as i32).max(next);
            whole.insert(slot, row);
            next = row + columns.height(slot, zoom);
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wants_the_same_row_is_spread_around_it() {
        assert_eq!(apart(vec![10.0, 10.0, 10.0], &[2.0, 2.0, 2.0]), [8.0, 10.0, 12.0]);
        assert_eq!(apart(vec![0.0, 9.0], &[2.0, 2.0]), [0.0, 9.0]);
        assert_eq!(apart(Vec::new(), &[]), Vec::<f64>::new());
    }
}

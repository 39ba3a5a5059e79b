//! Products of float32 matrices on the CPU, written straight to where they belong.
//!
//! The matrix library runs on one thread, and threads share a product by parts of its longer side: left to itself it packs
//! the factors of a network's layers on one of them, and wakes the others for every block.
//!
//! How a product falls into parts depends on its sizes alone, so that its numbers do not change with the threads.

use std::ops::Range;

use gemm::Parallelism;

use super::PRODUCT_WORTH_THREADS;
use super::lanes::for_each;
use super::place::{Place, Written, reaches};

/// Rows that are few beside a large right factor.
const FEW_ROWS: usize = 128;
/// Elements from which a right factor is large.
const LARGE: usize = 1 << 15;
/// Rows and columns that are turned together, so that what is read stays in the nearest cache.
const TURNED: [usize; 2] = [16, 64];
/// Into how many parts a side falls, and the least and the most rows or columns of one: whole registers of the widest
/// kernel, and so few that what a part reads again and again stays in the cache of a core.
const PARTS: usize = 10;
const WIDTH: (usize, usize) = (32, 128);

/// A matrix in a slice: element `(i, j)` is `data[i * rows_apart + j * columns_apart]`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub data: &'a [f32],
    pub rows_apart: usize,
    pub columns_apart: usize,
}

impl<'a> View<'a> {
    /// A matrix that lies row by row, `columns` to a row.
    pub fn rows(data: &'a [f32], columns: usize) -> Self {
        Self { data, rows_apart: columns, columns_apart: 1 }
    }

    /// The transpose of a matrix that lies row by row, `columns` to a row.
    pub fn transposed(data: &'a [f32], columns: usize) -> Self {
        Self { data, rows_apart: 1, columns_apart: columns }
    }

    /// Its transpose.
    pub fn turned(self) -> Self {
        Self { data: self.data, rows_apart: self.columns_apart, columns_apart: self.rows_apart }
    }

    /// Without so many rows and columns before the others.
    pub fn at(self, row: usize, column: usize) -> Self {
        let first = row * self.rows_apart + column * self.columns_apart;
        Self { data: self.data.get(first..).unwrap_or_default(), ..self }
    }

    /// Whether it has so many rows and columns.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        reaches(rows, columns, self.rows_apart, self.columns_apart) <= self.data.len()
    }
}

/// The parts into which threads divide one side of a product.
pub(super) fn parts_of(side: usize) -> usize {
    (side / PARTS / WIDTH.0 * WIDTH.0).clamp(WIDTH.0, WIDTH.1)
}

/// The blocks in which a matrix is turned.
fn blocks([rows, columns]: [usize; 2]) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let ranges =
        |side: usize, step: usize| (0..side).step_by(step).map(move |first| first..side.min(first + step));
    ranges(rows, TURNED[0]).flat_map(move |rows| ranges(columns, TURNED[1]).map(move |c| (rows.clone(), c)))
}

/// `left * right`, or a share of it that is added to what is there.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    sizes: [usize; 3],
    left: View<'a>,
    right: View<'a>,
    share: f32,
    adds: bool,
    threads: bool,
}

impl<'a> Product<'a> {
    /// The product; `sizes` are the rows of the result, its columns, and the length of what is summed.
    pub fn of(sizes: [usize; 3], left: View<'a>, right: View<'a>) -> Self {
        Self { sizes, left, right, share: 1.0, adds: false, threads: true }
    }

    /// This share of it is added to what is there.
    pub fn adding(self, share: f32) -> Self {
        Self { share, adds: true, ..self }
    }

    /// On every thread, where it is worth them, or on one.
    pub fn threads(self, threads: bool) -> Self {
        Self { threads, ..self }
    }

    /// Computes it into rows that are `rows_apart`.
    ///
    /// # Panics
    /// If a matrix is smaller than its sizes say, which is a mistake of the caller's.
    pub fn into(self, to: &mut [f32], rows_apart: usize) {
        let [m, n, _] = self.sizes;
        _ = self.into_place(Place::of(to, [m, n], rows_apart));
    }

    /// Computes it into a place of its size.
    ///
    /// # Panics
    /// As [`Product::into`], and if it is to be added to numbers that are not there.
    pub fn into_place(self, mut place: Place<'_>) -> Written<'_> {
        let [m, n, k] = self.sizes;
        assert_eq!([m, n], place.size(), "a product of another size than its place");
        assert!(self.left.holds(m, k) && self.right.holds(k, n), "a factor is smaller than its product");
        assert!(!self.adds || place.is_filled(), "nothing is there that a product could be added to");
        if !self.threads || m * n * k < PRODUCT_WORTH_THREADS {
            return self.on_one_thread(place);
        }
        let wide = n >= m;
        let parts = if wide { place.split_columns(parts_of(n)) } else { place.split_rows(parts_of(m)) };
        for_each(parts, true, |(range, place)| {
            let part = match wide {
                true => Self { sizes: [m, range.len(), k], right: self.right.at(0, range.start), ..self },
                false => Self { sizes: [range.len(), n, k], left: self.left.at(range.start, 0), ..self },
            };
            part.on_one_thread(place);
        });
        #[expect(unsafe_code, reason = "the parts together are the place")]
        // SAFETY: each part was written, and they are all of the place.
        unsafe {
            place.written()
        }
    }

    fn on_one_thread(self, place: Place<'_>) -> Written<'_> {
        if self.is_short() { self.by_columns(place) } else { self.run(place) }
    }

    /// Whether few rows meet a large matrix that lies column by column, a layer's weight say. The matrix library would then
    /// copy the large one into another order, which takes longer than the product.
    fn is_short(&self) -> bool {
        let [m, n, k] = self.sizes;
        !self.adds && self.right.rows_apart == 1 && (1..=FEW_ROWS).contains(&m) && n * k >= LARGE
    }

    /// The product into columns, where the library reads a large right factor as it lies, and from there into rows.
    fn by_columns(self, mut place: Place<'_>) -> Written<'_> {
        let [m, n, k] = self.sizes;
        let mut columns = vec![0f32; n * m];
        let turned = Self::of([n, m, k], self.right.turned(), self.left.turned());
        Self { share: self.share, ..turned }.run(Place::of(&mut columns, [n, m], m));
        for (rows, among) in blocks([m, n]) {
            for i in rows {
                let to = &mut place.row(i)[among.clone()];
                let from = columns[among.start * m + i..].iter().step_by(m);
                to.iter_mut().zip(from).for_each(|(to, value)| _ = to.write(*value));
            }
        }
        #[expect(unsafe_code, reason = "the blocks together are the place")]
        // SAFETY: the blocks are all rows and columns, and each of their numbers was written.
        unsafe {
            place.written()
        }
    }

    fn run(self, mut place: Place<'_>) -> Written<'_> {
        let [m, n, k] = self.sizes;
        #[expect(unsafe_code, reason = "the library takes pointers")]
        // SAFETY: every index that the sizes and strides give is inside its slice, as `into_place` and `Place::of` have
        // asserted; nobody else has the place, so that it overlaps with neither factor; and all of it is written.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                place.start(),
                1,
                place.rows_apart() as isize,
                self.adds,
                self.left.data.as_ptr(),
                self.left.columns_apart as isize,
                self.left.rows_apart as isize,
                self.right.data.as_ptr(),
                self.right.columns_apart as isize,
                self.right.rows_apart as isize,
                if self.adds { 1.0 } else { 0.0 },
                self.share,
                false,
                false,
                false,
                Parallelism::None,
            );
            place.written()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_adds_to_what_is_there_by_its_shares() {
        let (left, right) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let mut to = [1.0; 5];
        let product = Product::of([2, 2, 3], View::rows(&left, 3), View::rows(&right, 2));
        product.adding(2.0).threads(false).into(&mut to, 3);
        assert_eq!(to, [9.0, 11.0, 1.0, 21.0, 23.0]);
        let mut to = [f32::NAN; 4];
        Product::of([2, 2, 3], View::transposed(&right, 2), View::transposed(&left, 3)).into(&mut to, 2);
        assert_eq!(to, [4.0, 10.0, 5.0, 11.0]);
    }

    /// `left` `[m, k]` by the transpose of `right` `[n, k]`, both of eighths of small whole numbers: every sum is exact.
    #[track_caller]
    fn holds([m, n, k]: [usize; 3], adds: bool, short: bool) {
        let numbers = |count: usize, seed: usize| -> Vec<f32> {
            (0..count).map(|i| (((i * 7919 + seed) % 23) as f32 - 11.0) / 8.0).collect()
        };
        let (left, right, before) = (numbers(m * k, 1), numbers(n * k, 2), numbers(m * (n + 5), 3));
        let product = Product::of([m, n, k], View::rows(&left, k), View::transposed(&right, k));
        let product = if adds { product.adding(0.5) } else { product };
        assert_eq!(product.is_short(), short);
        let mut to = before.clone();
        product.into(&mut to, n + 5);
        for (i, (row, before)) in to.chunks(n + 5).zip(before.chunks(n + 5)).enumerate() {
            let left = &left[i * k..][..k];
            assert_eq!(row[n..], before[n..before.len().min(row.len())], "between the rows");
            for (j, right) in right.chunks(k).enumerate() {
                let sum: f32 = left.iter().zip(right).map(|(x, y)| x * y).sum();
                assert_eq!(row[j], if adds { before[j] + 0.5 * sum } else { sum }, "{i} {j}");
            }
        }
    }

    #[test]
    fn few_rows_by_a_large_weight_are_the_product_whatever_is_there() {
        holds([37, 300, 257], false, true);
        holds([37, 300, 257], true, false);
    }

    #[test]
    fn threads_divide_whichever_side_is_longer() {
        for sizes in [[50, 1301, 300], [1301, 50, 300]] {
            assert!(sizes.iter().product::<usize>() > PRODUCT_WORTH_THREADS);
            holds(sizes, false, sizes[0] == 50);
            holds(sizes, true, false);
        }
    }

    #[test]
    fn parts_of_a_side_are_whole_registers_of_it() {
        let sides = [1, 64, 320, 640, 1280, 5120].map(parts_of);
        assert_eq!(sides, [32, 32, 32, 64, 128, 128]);
    }

    #[test]
    #[should_panic(expected = "leaves its place")]
    fn a_result_that_does_not_fit_is_refused() {
        let ones = [1.0; 4];
        Product::of([2, 2, 2], View::rows(&ones, 2), View::rows(&ones, 2)).into(&mut [0.0; 3], 2);
    }
}

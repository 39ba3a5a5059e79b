//! Products of float32 matrices on the CPU, written straight to where they belong.

use gemm::Parallelism;
use rayon::prelude::*;

/// Rows that are few beside a large right factor.
const FEW_ROWS: usize = 256;
/// Elements from which a right factor is large.
const LARGE: usize = 1 << 16;
/// Rows that are filled together from columns.
const TURNED: usize = 16;

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

    /// Whether it has so many rows and columns.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        reaches(rows, columns, self.rows_apart, self.columns_apart) <= self.data.len()
    }
}

/// One behind the last element of a matrix.
fn reaches(rows: usize, columns: usize, rows_apart: usize, columns_apart: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * rows_apart + (columns - 1) * columns_apart + 1 }
}

/// `left * right`, or a share of it that is added to what is there.
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

    /// On every thread, as it comes, or on one.
    pub fn threads(self, threads: bool) -> Self {
        Self { threads, ..self }
    }

    /// Computes it into rows that are `rows_apart`.
    ///
    /// # Panics
    /// If a matrix is smaller than its sizes say, which is a mistake of the caller's.
    pub fn into(self, to: &mut [f32], rows_apart: usize) {
        let [m, n, _] = self.sizes;
        assert!(rows_apart >= n && reaches(m, n, rows_apart, 1) <= to.len(), "a product leaves its place");
        if self.is_short() {
            self.by_columns(to, rows_apart);
        } else {
            self.run(to, [rows_apart, 1]);
        }
    }

    /// Whether few rows meet a large matrix that lies column by column, a layer's weight say. The matrix library would then
    /// copy the large one into another order, which takes longer than the product.
    fn is_short(&self) -> bool {
        let [m, n, k] = self.sizes;
        self.right.rows_apart == 1 && (1..=FEW_ROWS).contains(&m) && n * k >= LARGE
    }

    /// The product into columns, where the library reads a large right factor as it lies, and from there into rows.
    fn by_columns(self, to: &mut [f32], rows_apart: usize) {
        let ([m, n, _], adds, threads) = (self.sizes, self.adds, self.threads);
        let mut columns = vec![0f32; m * n];
        Product { adds: false, ..self }.run(&mut columns, [1, m]);
        let turn = |(band, rows): (usize, &mut [f32])| {
            let first = band * TURNED;
            let count = TURNED.min(m - first);
            for (j, column) in columns.chunks_exact(m).enumerate() {
                for (i, &value) in column[first..first + count].iter().enumerate() {
                    let place = &mut rows[i * rows_apart + j];
                    *place = if adds { *place + value } else { value };
                }
            }
        };
        let bands = TURNED * rows_apart;
        if threads {
            to.par_chunks_mut(bands).take(m.div_ceil(TURNED)).enumerate().for_each(turn);
        } else {
            to.chunks_mut(bands).take(m.div_ceil(TURNED)).enumerate().for_each(turn);
        }
    }

    /// Computes it to where rows and columns are so far apart.
    fn run(&self, to: &mut [f32], [rows_apart, columns_apart]: [usize; 2]) {
        let [m, n, k] = self.sizes;
        assert!(reaches(m, n, rows_apart, columns_apart) <= to.len(), "a product leaves its place");
        assert!(self.left.holds(m, k) && self.right.holds(k, n), "a factor is smaller than its product");
        let threads = if self.threads {
            Parallelism::Rayon(candle_core::utils::get_num_threads())
        } else {
            Parallelism::None
        };
        #[expect(unsafe_code, reason = "gemm takes pointers")]
        // SAFETY: every index that the sizes and strides give is inside its slice, as asserted above, and `to` is
        // borrowed mutably, so that it overlaps with neither factor.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                to.as_mut_ptr(),
                columns_apart as isize,
                rows_apart as isize,
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
                threads,
            );
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

    #[test]
    fn few_rows_by_a_large_weight_are_the_product_whatever_is_there() {
        let (m, n, k) = (37, 300, 257);
        let numbers = |count: usize, seed: usize| -> Vec<f32> {
            (0..count).map(|i| (((i * 7919 + seed) % 23) as f32 - 11.0) / 8.0).collect()
        };
        let (left, right, before) = (numbers(m * k, 1), numbers(n * k, 2), numbers(m * (n + 5), 3));
        for (adds, threads) in [(false, true), (true, true), (true, false)] {
            let product = Product::of([m, n, k], View::rows(&left, k), View::transposed(&right, k));
            let product = if adds { product.adding(0.5) } else { product }.threads(threads);
            assert!(product.is_short());
            let mut to = before.clone();
            product.into(&mut to, n + 5);
            for (i, (row, before)) in to.chunks(n + 5).zip(before.chunks(n + 5)).enumerate() {
                assert_eq!(row[n..], before[n..], "between the rows");
                for j in 0..n {
                    // Eighths of small whole numbers: every sum is exact.
                    let sum: f32 = (0..k).map(|l| left[i * k + l] * right[j * k + l]).sum();
                    assert_eq!(row[j], if adds { before[j] + 0.5 * sum } else { sum }, "{i} {j}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "leaves its place")]
    fn a_result_that_does_not_fit_is_refused() {
        let ones = [1.0; 4];
        Product::of([2, 2, 2], View::rows(&ones, 2), View::rows(&ones, 2)).into(&mut [0.0; 3], 2);
    }
}

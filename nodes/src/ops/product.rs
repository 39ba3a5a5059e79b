//! Products of float32 matrices on the CPU, written straight to where they belong.

use gemm::Parallelism;

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
        let [m, n, k] = self.sizes;
        assert!(rows_apart >= n && reaches(m, n, rows_apart, 1) <= to.len(), "a product leaves its place");
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
                1,
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
    #[should_panic(expected = "leaves its place")]
    fn a_result_that_does_not_fit_is_refused() {
        let ones = [1.0; 4];
        Product::of([2, 2, 2], View::rows(&ones, 2), View::rows(&ones, 2)).into(&mut [0.0; 3], 2);
    }
}

//! Where products are written: matrices with gaps between their rows, of which each thread has some columns.
//!
//! Numbers that products make need not be there before: [`made`] takes memory as the system gives it, and hands it out
//! when every part of it was [`Written`].

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::Result;
use rayon::prelude::*;

/// One behind the last element of a matrix.
pub(super) fn reaches(rows: usize, columns: usize, rows_apart: usize, columns_apart: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * rows_apart + (columns - 1) * columns_apart + 1 }
}

/// Columns of rows that are `rows_apart`. Nobody else has them meanwhile, but others may have the columns beside them.
pub(super) struct Place<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    rows_apart: usize,
    /// Whether numbers are there already.
    filled: bool,
    held: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "it is a mutable slice with gaps")]
// SAFETY: a place is the only way to its numbers, as a mutable slice is, and numbers may be written by any thread.
unsafe impl Send for Place<'_> {}

impl<'a> Place<'a> {
    /// The first rows and columns of rows that are `rows_apart`.
    ///
    /// # Panics
    /// If they are not there, which is a mistake of the caller's.
    pub fn of(to: &'a mut [f32], [rows, columns]: [usize; 2], rows_apart: usize) -> Self {
        let inside = rows_apart >= columns && reaches(rows, columns, rows_apart, 1) <= to.len();
        assert!(inside, "a product leaves its place");
        Self { start: to.as_mut_ptr(), rows, columns, rows_apart, filled: true, held: PhantomData }
    }

    /// A matrix in memory where no numbers are yet.
    fn empty(to: &'a mut [MaybeUninit<f32>], columns: usize) -> Self {
        let (start, rows) = (to.as_mut_ptr().cast(), to.len().checked_div(columns).unwrap_or_default());
        Self { start, rows, columns, rows_apart: columns, filled: false, held: PhantomData }
    }

    /// Rows and columns.
    pub fn size(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Elements from one row to the next.
    pub fn rows_apart(&self) -> usize {
        self.rows_apart
    }

    /// Whether there are numbers that something can be added to.
    pub fn is_filled(&self) -> bool {
        self.filled
    }

    /// Where its first number is, for who writes within its size.
    pub fn start(&mut self) -> *mut f32 {
        self.start
    }

    /// Splits it into parts of so many columns.
    pub fn split_columns(&mut self, width: usize) -> Vec<(Range<usize>, Place<'_>)> {
        let starts = (0..self.columns).step_by(width.max(1));
        let part = |first: usize| {
            let columns = width.min(self.columns - first);
            (first..first + columns, Place { start: self.start.wrapping_add(first), columns, ..*self })
        };
        starts.map(part).collect()
    }

    /// Splits it into parts of so many rows.
    pub fn split_rows(&mut self, height: usize) -> Vec<(Range<usize>, Place<'_>)> {
        let starts = (0..self.rows).step_by(height.max(1));
        let part = |first: usize| {
            let rows = height.min(self.rows - first);
            let start = self.start.wrapping_add(first * self.rows_apart);
            (first..first + rows, Place { start, rows, ..*self })
        };
        starts.map(part).collect()
    }

    /// The numbers of its row `i`, or the room for them.
    pub fn row(&mut self, i: usize) -> &mut [MaybeUninit<f32>] {
        assert!(i < self.rows, "a row that is not there");
        #[expect(unsafe_code, reason = "rows with gaps between them")]
        // SAFETY: the row was inside the slice that the place is of, which is borrowed for as long as the place is, and
        // nobody else has these columns.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(i * self.rows_apart).cast(), self.columns)
        }
    }

    /// Says that every number of the place was written.
    ///
    /// # Safety
    /// It was.
    #[expect(unsafe_code, reason = "what it promises is not seen by the compiler")]
    pub unsafe fn written(self) -> Written<'a> {
        Written(Self { filled: true, ..self })
    }
}

/// A place whose numbers were all written.
pub(super) struct Written<'a>(Place<'a>);

impl Written<'_> {
    /// Adds to each row: `biases` has a number for each of the columns.
    pub fn add_to_rows(&mut self, biases: &[f32]) {
        for i in 0..self.0.rows {
            self.row(i).iter_mut().zip(biases).for_each(|(x, bias)| *x += bias);
        }
    }

    /// Adds to each column: `biases` has a number for each of the rows.
    pub fn add_to_columns(&mut self, biases: &[f32]) {
        for (i, bias) in biases.iter().enumerate().take(self.0.rows) {
            self.row(i).iter_mut().for_each(|x| *x += bias);
        }
    }

    fn row(&mut self, i: usize) -> &mut [f32] {
        #[expect(unsafe_code, reason = "numbers are there")]
        // SAFETY: every number of the place was written.
        unsafe {
            &mut *(std::ptr::from_mut(self.0.row(i)) as *mut [f32])
        }
    }
}

/// Pictures of `rows` by `columns`, each of which `each` writes in parts of so many columns: it is told which picture and
/// which columns, and has room of its own that stays from one part to the next. On all threads, or in turn on this one.
pub(super) fn made(
    pictures: usize,
    [rows, columns]: [usize; 2],
    width: usize,
    threads: bool,
    each: impl for<'a> Fn(usize, Range<usize>, Place<'a>, &mut Vec<f32>) -> Result<Written<'a>> + Sync,
) -> Result<Vec<f32>> {
    let count = pictures * rows * columns;
    let mut numbers = Vec::with_capacity(count);
    let room = &mut numbers.spare_capacity_mut()[..count];
    let mut places: Vec<_> =
        room.chunks_mut((rows * columns).max(1)).map(|room| Place::empty(room, columns)).collect();
    let parts = places.iter_mut().enumerate().flat_map(|(picture, place)| {
        let parts = place.split_columns(width);
        parts.into_iter().map(move |(columns, place)| (picture, columns, place))
    });
    let parts: Vec<_> = parts.collect();
    let one =
        |room: &mut Vec<f32>, (picture, columns, place): (usize, Range<usize>, Place<'_>)| -> Result<()> {
            let wanted = (place.start, place.size());
            let Written(place) = each(picture, columns, place, room)?;
            assert_eq!((place.start, place.size()), wanted, "another place was written");
            Ok(())
        };
    if threads {
        parts.into_par_iter().with_max_len(1).try_for_each_init(Vec::new, one)?;
    } else {
        let mut room = Vec::new();
        parts.into_iter().try_for_each(|part| one(&mut room, part))?;
    }
    #[expect(unsafe_code, reason = "the numbers are there")]
    // SAFETY: the parts are all of the room, and each of them was written.
    unsafe {
        numbers.set_len(count);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::super::product::{Product, View};
    use super::*;

    /// The number `picture` in every place, as a product.
    fn filled<'a>(picture: &[f32], place: Place<'a>) -> Written<'a> {
        let [rows, columns] = place.size();
        let ones = vec![1.0; rows.max(columns)];
        let left: Vec<f32> = ones.iter().map(|_| picture[0]).collect();
        Product::of([rows, columns, 1], View::rows(&left, 1), View::rows(&ones, columns)).into_place(place)
    }

    #[test]
    fn what_is_made_in_parts_is_whole() {
        for (width, threads) in [(3, true), (3, false), (100, true), (1, true)] {
            let numbers = made(2, [5, 10], width, threads, |picture, columns, place, _| {
                let mut written = filled(&[picture as f32], place);
                written.add_to_columns(&[10.0, 20.0, 30.0, 40.0, 50.0]);
                let hundreds: Vec<f32> = columns.map(|column| 100.0 * column as f32).collect();
                written.add_to_rows(&hundreds);
                Ok(written)
            });
            let wanted = (0..100).map(|i| (i / 50 + 10 * (i % 50 / 10 + 1) + 100 * (i % 10)) as f32);
            assert_eq!(numbers.unwrap(), wanted.collect::<Vec<_>>());
        }
        assert!(made(0, [5, 10], 3, true, |_, _, place, _| Ok(filled(&[1.0], place))).unwrap().is_empty());
        assert!(made(2, [5, 0], 3, true, |_, _, place, _| Ok(filled(&[1.0], place))).unwrap().is_empty());
    }

    #[test]
    fn a_part_that_fails_is_told() {
        let made = made(1, [2, 9], 3, true, |_, columns, place, _| match columns.start {
            6 => candle_core::bail!("the third"),
            _ => Ok(filled(&[1.0], place)),
        });
        assert!(made.unwrap_err().to_string().contains("the third"));
    }

    #[test]
    #[should_panic(expected = "could be added to")]
    fn nothing_is_added_to_numbers_that_are_not_there() {
        let one = [1.0];
        let product = Product::of([1, 1, 1], View::rows(&one, 1), View::rows(&one, 1)).adding(1.0);
        _ = made(1, [1, 1], 1, false, |_, _, place, _| Ok(product.into_place(place)));
    }
}

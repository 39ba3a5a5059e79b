//! The weight of a layer: a tensor, or numbers that stay where they lie until they are multiplied.
//!
//! A layer whose weight nobody trains only reads it. On a CPU it reads it out of a mapped file: nothing is copied, the
//! system may take the pages back, and halves are widened as they are used, which is exact.
//!
//! Nothing here knows a file: what lies somewhere is bytes that somebody holds.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, bail};
use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use half::{bf16, f16};
use rayon::prelude::*;

use super::product::View;
use super::values::ELSEWHERE;

/// Bytes that somebody holds.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// The weight of a layer, `[d_out, ..]`.
#[derive(Debug, Clone)]
pub enum Weight {
    /// In memory, on any device.
    Tensor(Tensor),
    /// Where it was saved.
    Lying(Arc<Lying>),
}

/// Numbers among bytes that stay where they are.
#[derive(Clone)]
pub struct Lying {
    bytes: Bytes,
    range: Range<usize>,
    dims: Vec<usize>,
    /// The type of the bytes.
    stored: DType,
    /// The type that the network runs in, which holds all of the other's numbers.
    dtype: DType,
}

impl fmt::Debug for Lying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dims, stored, dtype, .. } = self;
        f.debug_struct("Lying").field("dims", dims).field("stored", stored).field("dtype", dtype).finish()
    }
}

impl From<Tensor> for Weight {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

impl From<&Tensor> for Weight {
    fn from(tensor: &Tensor) -> Self {
        Self::Tensor(tensor.clone())
    }
}

impl From<&Self> for Weight {
    fn from(weight: &Self) -> Self {
        weight.clone()
    }
}

/// Halves that a thread widens at a time.
const PIECE: usize = 1 << 14;

impl Weight {
    /// Numbers of the type `stored` in a range of bytes, as a weight `dims` for a network that runs in `dtype`; none where
    /// they cannot be used as they lie: a type that does not hold the other, bytes that are not where such numbers may be,
    /// too few or too many, or a processor that writes numbers the other way round.
    pub fn lying(
        bytes: Bytes,
        range: Range<usize>,
        dims: &[usize],
        stored: DType,
        dtype: DType,
    ) -> Option<Self> {
        let holds = stored == dtype || (dtype == DType::F32 && matches!(stored, DType::F16 | DType::BF16));
        if !holds || cfg!(target_endian = "big") {
            return None;
        }
        let lying = Lying { bytes, range, dims: dims.to_vec(), stored, dtype };
        let numbers = lying.numbers()?.len();
        (numbers == dims.iter().product::<usize>()).then(|| Self::Lying(Arc::new(lying)))
    }

    /// Its shape.
    pub fn dims(&self) -> &[usize] {
        match self {
            Self::Tensor(tensor) => tensor.dims(),
            Self::Lying(lying) => &lying.dims,
        }
    }

    /// The type that the network runs in.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Tensor(tensor) => tensor.dtype(),
            Self::Lying(lying) => lying.dtype,
        }
    }

    /// The same numbers in another shape.
    ///
    /// # Errors
    /// A shape of another number of elements.
    pub fn reshape(self, dims: &[usize]) -> Result<Self> {
        match self {
            Self::Tensor(tensor) => Ok(tensor.reshape(dims)?.into()),
            Self::Lying(lying) if lying.elements() == dims.iter().product::<usize>() => {
                Ok(Self::Lying(Arc::new(Lying { dims: dims.to_vec(), ..(*lying).clone() })))
            }
            Self::Lying(lying) => bail!("a weight {:?} is no {dims:?}", lying.dims),
        }
    }

    /// As a tensor in the type that the network runs in; of what lies somewhere it is a copy.
    ///
    /// # Errors
    /// A device without room.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor.clone()),
            Self::Lying(lying) => lying.copied(),
        }
    }

    /// Whether it has a gradient.
    pub(super) fn track_op(&self) -> bool {
        matches!(self, Self::Tensor(tensor) if tensor.track_op())
    }

    /// One that is multiplied in float32, whatever its type was: where it has no gradient its products widen it.
    pub(super) fn widened(&self) -> Result<Self> {
        match self {
            Self::Tensor(tensor) if tensor.track_op() => Ok(tensor.to_dtype(DType::F32)?.into()),
            frozen => Ok(frozen.clone()),
        }
    }

    /// One whose numbers lie without gaps.
    pub(super) fn contiguous(&self) -> Result<Self> {
        match self {
            Self::Tensor(tensor) => Ok(tensor.contiguous()?.into()),
            Self::Lying(_) => Ok(self.clone()),
        }
    }

    /// Calls with all of its numbers, on a CPU.
    pub(super) fn whole<T>(&self, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
        self.with_numbers(|numbers| f(&numbers.widened()))
    }

    /// Calls with some rows and columns of it as a matrix `[d_out, ..]`, on a CPU; halves are widened into the buffer.
    pub(super) fn part<T>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        buffer: &mut Vec<f32>,
        f: impl FnOnce(View<'_>) -> T,
    ) -> Result<T> {
        let length = self.dims().iter().skip(1).product::<usize>();
        self.with_numbers(|numbers| {
            if let Numbers::Single(numbers) = numbers {
                return f(View::rows(&numbers[rows.start * length + columns.start..], length));
            }
            buffer.resize(rows.len() * columns.len(), 0.0);
            let width = columns.len().max(1);
            for (row, wide) in rows.zip(buffer.chunks_exact_mut(width)) {
                numbers.only(row * length + columns.start..row * length + columns.end).widen(wide);
            }
            f(View::rows(buffer, width))
        })
    }

    fn with_numbers<T>(&self, f: impl FnOnce(Numbers<'_>) -> T) -> Result<T> {
        match self {
            Self::Lying(lying) => match lying.numbers() {
                Some(numbers) => Ok(f(numbers)),
                None => bail!("the bytes of a weight have moved"),
            },
            Self::Tensor(tensor) => {
                let (storage, layout) = tensor.storage_and_layout();
                let Storage::Cpu(storage) = &*storage else { bail!("{ELSEWHERE}") };
                match (Numbers::of_storage(storage), layout.contiguous_offsets()) {
                    (Some(numbers), Some((start, end))) => Ok(f(numbers.only(start..end))),
                    _ => bail!("a weight of type {:?}, or with gaps", tensor.dtype()),
                }
            }
        }
    }
}

impl Lying {
    fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    fn numbers(&self) -> Option<Numbers<'_>> {
        let bytes = (*self.bytes).as_ref().get(self.range.clone())?;
        match self.stored {
            DType::F32 => bytemuck::try_cast_slice(bytes).ok().map(Numbers::Single),
            DType::F16 => Some(Numbers::Half(halves(bytes)?.reinterpret_cast())),
            DType::BF16 => Some(Numbers::Brain(halves(bytes)?.reinterpret_cast())),
            _ => None,
        }
    }

    fn copied(&self) -> Result<Tensor> {
        let Some(numbers) = self.numbers() else { bail!("the bytes of a weight have moved") };
        let (dims, here) = (self.dims.as_slice(), &Device::Cpu);
        match (numbers, self.dtype) {
            (Numbers::Half(halves), DType::F16) => Tensor::from_slice(halves, dims, here),
            (Numbers::Brain(halves), DType::BF16) => Tensor::from_slice(halves, dims, here),
            (numbers, _) => Tensor::from_vec(numbers.widened().into_owned(), dims, here),
        }
    }
}

fn halves(bytes: &[u8]) -> Option<&[u16]> {
    bytemuck::try_cast_slice(bytes).ok()
}

/// Numbers of one of the types that weights have.
#[derive(Clone, Copy)]
enum Numbers<'a> {
    Single(&'a [f32]),
    Half(&'a [f16]),
    Brain(&'a [bf16]),
}

impl<'a> Numbers<'a> {
    fn of_storage(storage: &'a CpuStorage) -> Option<Self> {
        match storage {
            CpuStorage::F32(numbers) => Some(Self::Single(numbers)),
            CpuStorage::F16(numbers) => Some(Self::Half(numbers)),
            CpuStorage::BF16(numbers) => Some(Self::Brain(numbers)),
            _ => None,
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Single(numbers) => numbers.len(),
            Self::Half(numbers) => numbers.len(),
            Self::Brain(numbers) => numbers.len(),
        }
    }

    fn only(self, range: Range<usize>) -> Self {
        match self {
            Self::Single(numbers) => Self::Single(&numbers[range]),
            Self::Half(numbers) => Self::Half(&numbers[range]),
            Self::Brain(numbers) => Self::Brain(&numbers[range]),
        }
    }

    /// In float32, on all cores.
    fn widened(self) -> Cow<'a, [f32]> {
        let mut wide = match self {
            Self::Single(numbers) => return Cow::Borrowed(numbers),
            halves => vec![0f32; halves.len()],
        };
        wide.par_chunks_mut(PIECE).enumerate().for_each(|(i, wide)| {
            self.only(i * PIECE..i * PIECE + wide.len()).widen(wide);
        });
        Cow::Owned(wide)
    }

    /// In float32, to where there is room for just as many.
    fn widen(self, to: &mut [f32]) {
        match self {
            Self::Single(numbers) => to.copy_from_slice(numbers),
            Self::Half(halves) => halves.convert_to_f32_slice(to),
            Self::Brain(halves) => halves.convert_to_f32_slice(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A weight `[6, 50]` in every form that it may have: as a tensor, and lying in each type. All of its numbers are
    /// halves of both kinds.
    fn forms() -> Vec<Weight> {
        let numbers: Vec<f32> = (0..300).map(|i| (i % 37) as f32 / 4.0 - 4.0).collect();
        let tensor = Tensor::new(numbers.as_slice(), &Device::Cpu).unwrap().reshape((6, 50)).unwrap();
        let lying = |stored: DType| {
            let mut bytes = vec![0u8; 8]; // something before it
            match stored {
                DType::F32 => bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes())),
                DType::F16 => bytes.extend(numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
                _ => bytes.extend(numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes())),
            }
            let range = 8..bytes.len();
            Weight::lying(Arc::new(bytes), range, &[6, 50], stored, DType::F32).unwrap()
        };
        vec![tensor.into(), lying(DType::F32), lying(DType::F16), lying(DType::BF16)]
    }

    #[test]
    fn a_weight_has_the_same_numbers_wherever_it_lies() {
        let forms = forms();
        let wanted = forms[0].tensor().unwrap().to_vec2::<f32>().unwrap();
        for weight in &forms {
            assert_eq!((weight.dims(), weight.dtype()), (&[6, 50][..], DType::F32));
            assert_eq!(weight.tensor().unwrap().to_vec2::<f32>().unwrap(), wanted);
            assert_eq!(weight.whole(<[f32]>::to_vec).unwrap(), wanted.concat());
            let turned = weight.clone().reshape(&[50, 6]).unwrap();
            let rows = turned.tensor().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(rows, wanted.concat());
            let mut buffer = vec![7.0; 3];
            let part = |view: View<'_>| {
                let place = |i: usize, j: usize| i * view.rows_apart + j * view.columns_apart;
                [(0, 0), (0, 9), (2, 0), (2, 9)].map(|(i, j)| view.data[place(i, j)])
            };
            let corners = weight.part(3..6, 40..50, &mut buffer, part).unwrap();
            assert_eq!(corners, [wanted[3][40], wanted[3][49], wanted[5][40], wanted[5][49]]);
            assert!(weight.clone().reshape(&[7, 6]).is_err());
        }
    }

    #[test]
    fn halves_stay_halves_in_a_network_of_halves() {
        let bytes = Arc::new(f16::from_f32(0.5).to_le_bytes().repeat(4));
        let weight = Weight::lying(bytes, 0..8, &[2, 2], DType::F16, DType::F16).unwrap();
        assert_eq!(weight.tensor().unwrap().dtype(), DType::F16);
        assert_eq!(weight.whole(<[f32]>::to_vec).unwrap(), [0.5; 4]);
    }

    #[test]
    fn what_cannot_be_used_as_it_lies_is_none() {
        let lying = |range: Range<usize>, dims: &[usize], stored, dtype| {
            Weight::lying(Arc::new(vec![0u8; 64]), range, dims, stored, dtype)
        };
        assert!(lying(0..16, &[2, 2], DType::F32, DType::F32).is_some());
        assert!(lying(0..16, &[2, 3], DType::F32, DType::F32).is_none(), "too few");
        assert!(lying(1..17, &[2, 2], DType::F32, DType::F32).is_none(), "between two places");
        assert!(lying(56..72, &[2, 2], DType::F32, DType::F32).is_none(), "behind the end");
        assert!(lying(0..16, &[2, 2], DType::F32, DType::F16).is_none(), "it would have to be rounded");
        assert!(lying(0..16, &[2, 4], DType::BF16, DType::F16).is_none(), "neither holds the other");
    }
}

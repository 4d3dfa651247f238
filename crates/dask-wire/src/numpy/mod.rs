//! NumPy arrays: read where they lie in a result's frames, or made from Rust data to be sent.

mod convert;
mod dtype;
mod element;
#[cfg(feature = "ndarray")]
mod interop;
mod pickle;
mod scalar;

use std::borrow::Cow;

use bytes::Bytes;

pub use dtype::{ByteOrder, DType, DTypeKind, Field, TimeUnit};
pub use element::{Element, Elements};
#[cfg(feature = "ndarray")]
pub use interop::{Array, Array1, Array2, Array3, ArrayD};
pub use scalar::Scalar;

pub(crate) use convert::ArrayDe;
pub(crate) use dtype::shape_of;

use crate::payload::Payload;
use crate::value::Value;

/// NumPy's own limit.
const MAX_DIMENSIONS: usize = 64;

/// Why an array cannot be made, read or sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// Its data type cannot be used.
    #[error("a NumPy data type that cannot be used: {0}")]
    DType(String),
    /// It is something else.
    #[error("it is none")]
    NoArray,
    /// Shape, strides and data do not belong together.
    #[error("shape, strides and data of an array do not fit together: {0}")]
    Layout(String),
    /// The elements are of another type than the one asked for.
    #[error("an array of {found} was asked for as {asked}")]
    Type {
        /// The array's data type.
        found: String,
        /// The Rust type that was asked for.
        asked: &'static str,
    },
    /// A small buffer that stands for very many elements.
    #[error(
        "an array of {elements} rows and elements beyond its data is over the limit of {limit} when it is written out \
         (see `pickle_limits`); NdArray reads it as it is"
    )]
    TooLarge {
        /// Its rows and elements beyond those that its data has.
        elements: usize,
        /// The limit.
        limit: usize,
    },
}

impl ArrayError {
    fn dtype(text: String) -> Self {
        ArrayError::DType(text)
    }

    fn layout(text: impl Into<String>) -> Self {
        ArrayError::Layout(text.into())
    }
}

/// A NumPy array on shared memory: cloning copies nothing.
#[derive(Clone, Debug)]
pub struct NdArray {
    dtype: DType,
    shape: Vec<usize>,
    strides: Vec<isize>,
    offset: usize,
    data: Bytes,
    /// Lists and elements that it may become.
    limit: usize,
    /// Those among them that no byte of the data stands for.
    repeated: usize,
}

fn product(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n))
}

/// Lists and elements of an array of this shape as lists of lists. An array without elements may have very many.
pub(crate) fn parts(shape: &[usize]) -> usize {
    let (mut rows, mut all) = (1usize, 1usize);
    for n in shape {
        rows = rows.saturating_mul(*n);
        all = all.saturating_add(rows);
    }
    all
}

fn signed(n: usize) -> Result<isize, ArrayError> {
    isize::try_from(n).map_err(|_| ArrayError::layout("a size beyond what a machine can address"))
}

/// Strides of an array in C order.
fn c_strides(shape: &[usize], size: usize) -> Result<Vec<isize>, ArrayError> {
    let mut strides = vec![0; shape.len()];
    let mut next = signed(size)?;
    for (stride, n) in strides.iter_mut().zip(shape).rev() {
        *stride = next;
        next = next
            .checked_mul(signed((*n).max(1))?)
            .ok_or_else(|| ArrayError::layout("a size beyond what a machine can address"))?;
    }
    Ok(strides)
}

fn f_strides(shape: &[usize], size: usize) -> Result<Vec<isize>, ArrayError> {
    let reversed: Vec<usize> = shape.iter().rev().copied().collect();
    let mut strides = c_strides(&reversed, size)?;
    strides.reverse();
    Ok(strides)
}

impl NdArray {
    /// An array on a buffer, from the byte at `offset` on, with strides in bytes.
    ///
    /// # Errors
    /// If the dimensions and strides reach outside of the buffer, or the type is one of Python objects.
    pub fn new(
        dtype: DType,
        shape: Vec<usize>,
        strides: Vec<isize>,
        offset: usize,
        data: Bytes,
    ) -> Result<Self, ArrayError> {
        if dtype.has_objects() {
            return Err(ArrayError::dtype("an array of Python objects has no plain data".to_owned()));
        }
        if shape.len() != strides.len() {
            return Err(ArrayError::layout(format!("{} dimensions, {} strides", shape.len(), strides.len())));
        }
        if shape.len() > MAX_DIMENSIONS {
            return Err(ArrayError::layout(format!("{} dimensions", shape.len())));
        }
        let outside = || ArrayError::layout("elements outside of the buffer");
        let elements = product(&shape).ok_or_else(outside)?;
        // Elements are counted in signed arithmetic further on.
        signed(elements)?;
        if elements > 0 {
            let (mut low, mut high) = (signed(offset)?, signed(offset)?);
            for (n, stride) in shape.iter().zip(&strides) {
                let reach = signed(n.saturating_sub(1))?.checked_mul(*stride).ok_or_else(outside)?;
                let end = if reach < 0 { &mut low } else { &mut high };
                *end = end.checked_add(reach).ok_or_else(outside)?;
            }
            let end = high.checked_add(signed(dtype.size())?).ok_or_else(outside)?;
            if low < 0 || end > signed(data.len())? {
                return Err(outside());
            }
        }
        let limit = dask_pickle::Limits::default().items;
        Ok(Self { dtype, shape, strides, offset, data, limit, repeated: usize::MAX })
    }

    /// An array in C order whose data is already in the bytes of its type.
    ///
    /// # Errors
    /// If there are fewer bytes than the shape needs.
    pub fn from_bytes(
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        data: impl Into<Bytes>,
    ) -> Result<Self, ArrayError> {
        let shape = shape.into();
        let strides = c_strides(&shape, dtype.size())?;
        Self::new(dtype, shape, strides, 0, data.into())
    }

    /// An array in C order of a copy of these elements.
    ///
    /// # Errors
    /// If the shape needs another number of elements.
    pub fn from_slice<T: Scalar>(items: &[T], shape: impl Into<Vec<usize>>) -> Result<Self, ArrayError> {
        let shape = shape.into();
        if product(&shape) != Some(items.len()) {
            return Err(ArrayError::layout(format!("{} elements for the shape {shape:?}", items.len())));
        }
        Self::from_bytes(T::dtype(), shape, Bytes::copy_from_slice(T::as_bytes(items)))
    }

    /// Limits the lists and elements that it may become.
    pub(crate) fn within(self, limit: usize) -> Self {
        Self { limit, repeated: limit, ..self }
    }

    /// Limits those of them that no byte of the data stands for.
    pub(crate) fn repeating(self, repeated: usize) -> Self {
        Self { repeated, ..self }
    }

    /// Refuses to write out an array whose strides make a small buffer stand for more elements than the limit. As it
    /// is, it costs nothing.
    fn check_size(&self) -> Result<(), ArrayError> {
        match self.extra() {
            elements if elements > self.repeated => {
                Err(ArrayError::TooLarge { elements, limit: self.repeated })
            }
            _ => Ok(()),
        }
    }

    /// Lists and elements that it may become when it is read as a Python value.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Lists and elements in it.
    pub(crate) fn parts(&self) -> usize {
        parts(&self.shape)
    }

    /// Lists and elements that no byte of the data stands for.
    pub(crate) fn extra(&self) -> usize {
        let axes = self.shape.len();
        self.parts().saturating_sub(axes.saturating_mul(self.data.len()).saturating_add(axes + 1))
    }

    /// The type of its elements.
    pub fn dtype(&self) -> &DType {
        &self.dtype
    }

    /// Elements along each axis; empty for a single value (0-d).
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes from one element to the next along each axis. Zero where an axis repeats, negative where it runs back.
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// Where in the buffer the first element is.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The whole buffer.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Number of dimensions.
    pub fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        product(&self.shape).unwrap_or_default()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn has_strides(&self, of: Result<Vec<isize>, ArrayError>) -> bool {
        let Ok(of) = of else { return false };
        self.is_empty()
            || self.shape.iter().zip(&self.strides).zip(&of).all(|((n, have), want)| *n == 1 || have == want)
    }

    /// Whether the elements lie one after the other, the last axis fastest.
    pub fn is_c_contiguous(&self) -> bool {
        self.has_strides(c_strides(&self.shape, self.dtype.size()))
    }

    /// Whether the elements lie one after the other, the first axis fastest.
    pub fn is_f_contiguous(&self) -> bool {
        self.has_strides(f_strides(&self.shape, self.dtype.size()))
    }

    /// The bytes of the elements if they lie one after the other.
    fn run(&self) -> Option<Bytes> {
        let len = self.len().checked_mul(self.dtype.size())?;
        let end = self.offset.checked_add(len)?;
        if len == 0 {
            return Some(Bytes::new());
        }
        (end <= self.data.len()).then(|| self.data.slice(self.offset..end))
    }

    /// The elements' bytes in C order, without a copy if they lie so.
    ///
    /// # Errors
    /// If repeated elements make it larger than the limits it was read with.
    pub fn to_c_bytes(&self) -> Result<Bytes, ArrayError> {
        if self.is_c_contiguous()
            && let Some(run) = self.run()
        {
            return Ok(run);
        }
        self.check_size()?;
        let mut out = Vec::with_capacity(self.len().saturating_mul(self.dtype.size()));
        for element in self.raw() {
            out.extend_from_slice(element);
        }
        Ok(out.into())
    }

    /// The bytes of each element, in C order.
    fn raw(&self) -> Raw<'_> {
        Raw {
            array: self,
            index: vec![0; self.shape.len()],
            at: isize::try_from(self.offset).unwrap_or_default(),
            left: self.len(),
        }
    }

    /// The bytes of an element.
    fn bytes_at(&self, at: isize) -> Option<&[u8]> {
        let at = usize::try_from(at).ok()?;
        self.data.get(at..at.checked_add(self.dtype.size())?)
    }

    fn check<T: Scalar>(&self) -> Result<(), ArrayError> {
        if T::matches(&self.dtype) {
            return Ok(());
        }
        Err(ArrayError::Type { found: self.dtype.to_string(), asked: std::any::type_name::<T>() })
    }

    /// The elements in C order: borrowed if they lie so in this machine's byte order and aligned, else copied. `None`
    /// if they are not of this type (see [`Scalar`] for which types match), or where [`NdArray::to_vec`] refuses.
    pub fn as_slice<T: Scalar>(&self) -> Option<Cow<'_, [T]>> {
        self.check::<T>().ok()?;
        let end = self.offset.checked_add(self.len().checked_mul(self.dtype.size())?)?;
        if self.dtype.byte_order() == ByteOrder::NATIVE || self.dtype.size() == 1 {
            if self.is_empty() {
                return Some(Cow::Borrowed(&[]));
            }
            if self.is_c_contiguous()
                && let Some(slice) = self.data.get(self.offset..end).and_then(T::cast)
            {
                return Some(Cow::Borrowed(slice));
            }
        }
        self.to_vec().ok().map(Cow::Owned)
    }

    /// A copy of the elements in C order.
    ///
    /// # Errors
    /// If they are not of this type (see [`Scalar`] for which types match), or if repeated ones make them more than the
    /// limits that the array was read with.
    pub fn to_vec<T: Scalar>(&self) -> Result<Vec<T>, ArrayError> {
        self.check::<T>()?;
        let big = self.dtype.byte_order() == ByteOrder::Big;
        if self.is_c_contiguous()
            && self.dtype.byte_order() == ByteOrder::NATIVE
            && let Some(slice) = self.run().as_deref().and_then(T::cast)
        {
            return Ok(slice.to_vec());
        }
        self.check_size()?;
        self.raw()
            .map(|bytes| T::read(bytes, big).ok_or_else(|| ArrayError::layout("an element of another size")))
            .collect()
    }

    /// The elements in C order, whatever their type.
    pub fn elements(&self) -> Elements<'_> {
        Elements { raw: self.raw(), dtype: &self.dtype }
    }

    /// The element at an index; `None` if it is outside of the shape.
    pub fn get(&self, index: &[usize]) -> Option<Element<'_>> {
        if index.len() != self.shape.len() {
            return None;
        }
        let mut at = isize::try_from(self.offset).ok()?;
        for ((i, n), stride) in index.iter().zip(&self.shape).zip(&self.strides) {
            if i >= n {
                return None;
            }
            at = at.checked_add(isize::try_from(*i).ok()?.checked_mul(*stride)?)?;
        }
        Element::read(self.bytes_at(at)?, &self.dtype)
    }

    /// The same array, in the order in which it lies if that is C or Fortran order, else copied into C order; its
    /// buffer starts with the first element and holds nothing else. Axes that repeat are written out unless that is
    /// over the limit.
    fn compact(&self) -> Result<Self, ArrayError> {
        let repeats = |(n, stride): (&usize, &isize)| *n > 1 && *stride == 0;
        if self.shape.iter().zip(&self.strides).any(repeats) && self.check_size().is_err() {
            let mut once = self.clone();
            let axes = once.shape.iter_mut().zip(&self.strides);
            axes.filter(|(_, stride)| **stride == 0).for_each(|(n, _)| *n = 1);
            let once = once.compact()?;
            let strides = once.strides.iter().zip(&self.strides);
            let strides = strides.map(|(new, old)| if *old == 0 { 0 } else { *new }).collect();
            return Self::new(self.dtype.clone(), self.shape.clone(), strides, 0, once.data);
        }
        let (strides, data) = if self.is_c_contiguous() {
            (c_strides(&self.shape, self.dtype.size())?, self.run().unwrap_or_default())
        } else if self.is_f_contiguous() {
            (f_strides(&self.shape, self.dtype.size())?, self.run().unwrap_or_default())
        } else {
            (c_strides(&self.shape, self.dtype.size())?, self.to_c_bytes()?)
        };
        Self::new(self.dtype.clone(), self.shape.clone(), strides, 0, data)
    }

    /// The array as a value to scatter or to send to a worker. Every release reads it; its data is not copied unless
    /// it lies scattered.
    ///
    /// # Errors
    /// If its type cannot be described.
    pub fn to_payload(&self) -> Result<Payload, ArrayError> {
        let array = self.compact()?;
        let strides: Vec<i64> =
            array.strides.iter().map(|stride| i64::try_from(*stride).unwrap_or_default()).collect();
        let fields = vec![
            (Value::from("dtype"), array.dtype.to_header()?),
            (Value::from("shape"), array.shape.iter().copied().collect()),
            (Value::from("strides"), strides.into_iter().collect()),
            (Value::from("writeable"), [true].into_iter().collect()),
        ];
        Ok(Payload::dask("numpy.ndarray", "numpy", "ndarray", fields, vec![array.data]))
    }

    /// Reads a header's fields and the frame that belongs to them.
    pub(crate) fn from_header(
        fields: &Value<'_>,
        frames: &[Bytes],
        limits: &dask_pickle::Limits,
    ) -> Result<Self, ArrayError> {
        let need = |name: &str| {
            fields.get(name).ok_or_else(|| ArrayError::layout(format!("the header lacks {name:?}")))
        };
        let [data] = frames else {
            return Err(ArrayError::layout(format!("{} frames where one belongs", frames.len())));
        };
        let dtype = DType::from_header(need("dtype")?, limits)?;
        let shape = match fields.get("broadcast_to").filter(|shape| !shape.is_nil()) {
            // An empty one means that there is none.
            Some(shape) if shape.as_array().is_some_and(|shape| !shape.is_empty()) => shape,
            _ => need("shape")?,
        };
        let shape = shape_of(shape).ok_or_else(|| ArrayError::layout("a shape that is none"))?;
        let strides: Option<Vec<isize>> = need("strides")?
            .as_array()
            .unwrap_or_default()
            .iter()
            .map(|stride| isize::try_from(stride.as_i64()?).ok())
            .collect();
        let strides = strides.ok_or_else(|| ArrayError::layout("strides that are none"))?;
        Ok(Self::new(dtype, shape, strides, 0, data.clone())?.within(limits.items))
    }
}

impl PartialEq for NdArray {
    /// Whether type, shape and the bytes of all elements are the same, however they lie.
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.raw().eq(other.raw())
    }
}

/// The bytes of each element, in C order.
#[derive(Clone, Debug)]
struct Raw<'a> {
    array: &'a NdArray,
    index: Vec<usize>,
    at: isize,
    left: usize,
}

impl<'a> Iterator for Raw<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let bytes = self.array.bytes_at(self.at)?;
        let axes = self.index.iter_mut().zip(&self.array.shape).zip(&self.array.strides);
        for ((i, n), stride) in axes.rev() {
            *i += 1;
            self.at = self.at.wrapping_add(*stride);
            if *i < *n {
                break;
            }
            *i = 0;
            let back = isize::try_from(*n).unwrap_or_default().wrapping_mul(*stride);
            self.at = self.at.wrapping_sub(back);
        }
        Some(bytes)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// An array with a mask over it.
#[derive(Clone, Debug)]
pub struct MaskedArray {
    /// The elements; those under the mask are of no meaning.
    pub data: NdArray,
    /// True where an element is masked, in the shape of the data; `None` if nothing is.
    pub mask: Option<NdArray>,
    /// What stands for masked elements when the array is filled.
    pub fill: Option<dask_pickle::Value>,
}

#[cfg(test)]
mod tests;

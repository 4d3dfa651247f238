//! Arrays of the crate `ndarray` (feature `ndarray`).

use std::ops::{Deref, DerefMut};

use ndarray::{
    ArrayBase, ArrayD as OwnedD, ArrayViewD, Axis, Data, Dimension, Ix1, Ix2, Ix3, IxDyn, ShapeBuilder,
};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ArrayError, ByteOrder, NdArray, Scalar};

impl NdArray {
    /// A copy as an array of the crate `ndarray`, in C order.
    ///
    /// # Errors
    /// If the elements are of another type.
    pub fn to_ndarray<T: Scalar>(&self) -> Result<OwnedD<T>, ArrayError> {
        OwnedD::from_shape_vec(IxDyn(self.shape()), self.to_vec()?)
            .map_err(|error| ArrayError::layout(error.to_string()))
    }

    /// The elements where they are, whatever their strides: without a copy. `None` if they are of another type, in the
    /// byte order of other machines, or not aligned; [`NdArray::to_ndarray`] copies those.
    pub fn view<T: Scalar>(&self) -> Option<ArrayViewD<'_, T>> {
        self.check::<T>().ok()?;
        let size = self.dtype.size();
        if self.dtype.byte_order() != ByteOrder::NATIVE && size > 1 {
            return None;
        }
        if self.is_empty() {
            return ArrayViewD::from_shape(IxDyn(&self.shape), &[]).ok();
        }
        // From the lowest address on, with axes that run back turned round.
        let (mut start, mut end) = (self.offset, self.offset.checked_add(size)?);
        let mut strides = Vec::with_capacity(self.strides.len());
        for (n, stride) in self.shape.iter().zip(&self.strides) {
            let step = stride.unsigned_abs();
            let reach = n.checked_sub(1)?.checked_mul(step)?;
            match stride.is_negative() {
                true => start = start.checked_sub(reach)?,
                false => end = end.checked_add(reach)?,
            }
            // The stride along an axis of one element may be anything.
            let step = if *n == 1 { 0 } else { step };
            strides.push((step % size == 0).then_some(step / size)?);
        }
        let items = T::cast(self.data.get(start..end)?)?;
        let mut view = ArrayViewD::from_shape(IxDyn(&self.shape).strides(IxDyn(&strides)), items).ok()?;
        for (axis, stride) in self.strides.iter().enumerate() {
            if stride.is_negative() {
                view.invert_axis(Axis(axis));
            }
        }
        Some(view)
    }

    /// An array in C order of a copy of the elements of an array of the crate `ndarray`.
    ///
    /// # Errors
    /// If its size is beyond what a machine can address.
    pub fn from_ndarray<T: Scalar, S: Data<Elem = T>, D: Dimension>(
        array: &ArrayBase<S, D>,
    ) -> Result<Self, ArrayError> {
        let shape = array.shape().to_vec();
        match array.as_slice() {
            Some(items) => Self::from_slice(items, shape),
            None => Self::from_slice(&array.iter().copied().collect::<Vec<T>>(), shape),
        }
    }
}

/// An array of the crate `ndarray` that is a NumPy array in Python, as an argument and as a result or a part of one.
///
/// It is that array in every other way ([`Deref`]). The crate's own types cannot be used in its place because serde
/// would send them as dicts. The elements are copied once each way; see [`NdArray`] and [`NdArray::view`] for none.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T, D: Dimension>(pub ndarray::Array<T, D>);

/// An [`Array`] of one dimension.
pub type Array1<T> = Array<T, Ix1>;
/// An [`Array`] of two dimensions.
pub type Array2<T> = Array<T, Ix2>;
/// An [`Array`] of three dimensions.
pub type Array3<T> = Array<T, Ix3>;
/// An [`Array`] of as many dimensions as it happens to have.
pub type ArrayD<T> = Array<T, IxDyn>;

impl<T, D: Dimension> Array<T, D> {
    /// The array of the crate `ndarray`.
    pub fn into_inner(self) -> ndarray::Array<T, D> {
        self.0
    }
}

impl<T, D: Dimension> Deref for Array<T, D> {
    type Target = ndarray::Array<T, D>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T, D: Dimension> DerefMut for Array<T, D> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<T, D: Dimension> From<ndarray::Array<T, D>> for Array<T, D> {
    fn from(array: ndarray::Array<T, D>) -> Self {
        Self(array)
    }
}

impl<T: Scalar, D: Dimension> Serialize for Array<T, D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        NdArray::from_ndarray(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de, T: Scalar, D: Dimension> Deserialize<'de> for Array<T, D> {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        let array = NdArray::deserialize(deserializer)?.to_ndarray().map_err(De::Error::custom)?;
        let found = array.ndim();
        array.into_dimensionality().map(Self).map_err(|_| {
            let asked = D::NDIM.unwrap_or_default();
            De::Error::custom(format_args!(
                "an array of {found} dimensions where one of {asked} was expected"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::numpy::DType;

    fn numbers(offset: usize, shape: &[usize], strides: &[isize]) -> NdArray {
        let values: Vec<i32> = (0..12).collect();
        let data = Bytes::copy_from_slice(bytemuck::cast_slice(&values));
        NdArray::new(DType::parse("<i4").unwrap(), shape.to_vec(), strides.to_vec(), offset, data).unwrap()
    }

    #[test]
    fn views_follow_all_strides_without_a_copy() {
        for (offset, shape, strides) in [
            (0, &[12][..], &[4][..]),
            (0, &[3, 4], &[16, 4]),
            (0, &[4, 3], &[4, 16]),
            (8, &[2, 2], &[16, 8]),
            (44, &[12], &[-4]),
            (12, &[3, 4], &[16, -4]),
            (0, &[5, 3], &[0, 4]),
            (20, &[], &[]),
            (0, &[0, 7], &[28, 4]),
            (4, &[1, 3], &[5, 4]),
        ] {
            let array = numbers(offset, shape, strides);
            let Some(view) = array.view::<i32>() else {
                // The allocator may give bytes any address.
                assert!(!(array.data().as_ptr() as usize).is_multiple_of(4), "{shape:?} {strides:?}");
                continue;
            };
            assert_eq!(view.shape(), shape);
            assert_eq!(
                view.iter().copied().collect::<Vec<_>>(),
                array.to_vec::<i32>().unwrap(),
                "{strides:?}"
            );
            if let Some(first) = view.first() {
                assert_eq!(std::ptr::from_ref(first).cast(), array.data()[offset..].as_ptr(), "{strides:?}");
            }
            assert!(array.view::<f32>().is_none());
        }
        let odd = numbers(1, &[2], &[4]);
        let aligned = (odd.data().as_ptr() as usize + 1).is_multiple_of(4);
        assert_eq!(odd.view::<i32>().is_some(), aligned);
        assert!(numbers(0, &[2], &[6]).view::<i32>().is_none());
        let big = NdArray::from_bytes(DType::parse(">i4").unwrap(), [1], vec![0; 4]).unwrap();
        assert!(big.view::<i32>().is_none());
    }

    #[test]
    fn wrapped_arrays_have_the_dimensions_that_are_asked_for() {
        let array = Array2::from(ndarray::array![[1.5, 2.5], [3.5, 4.5]].reversed_axes());
        let sent = NdArray::from_ndarray(&array).unwrap();
        let decoded = crate::family::Decoded::Array(sent);
        assert_eq!(decoded.to::<Array2<f64>>().unwrap(), array);
        assert_eq!(decoded.to::<ArrayD<f64>>().unwrap().shape(), [2, 2]);
        assert_eq!(decoded.to::<Vec<Array1<f64>>>().unwrap()[1].to_vec(), [2.5, 4.5]);
        let error = decoded.to::<Array1<f64>>().unwrap_err().to_string();
        assert!(error.contains("2 dimensions where one of 1"), "{error}");
        let error = decoded.to::<Array2<f32>>().unwrap_err().to_string();
        assert!(error.contains("<f8 was asked for as f32"), "{error}");
    }

    #[cfg(feature = "half")]
    #[test]
    fn half_floats_are_typed() {
        let values = [half::f16::from_f32(1.5), half::f16::NEG_INFINITY];
        let array = NdArray::from_slice(&values, [2]).unwrap();
        assert_eq!(array.dtype().to_string(), "<f2");
        assert_eq!(array.to_vec::<half::f16>().unwrap(), values);
        assert_eq!(array.elements().next(), Some(crate::numpy::Element::Float(1.5)));
    }
}

//! Arrays of the crate `ndarray` (feature `ndarray`).

use ndarray::{Array, ArrayBase, ArrayD, Data, Dimension, IxDyn};

use super::{ArrayError, NdArray, Scalar};

impl NdArray {
    /// A copy as an array of the crate `ndarray`, in C order.
    ///
    /// # Errors
    /// If the elements are of another type.
    pub fn to_ndarray<T: Scalar>(&self) -> Result<ArrayD<T>, ArrayError> {
        Array::from_shape_vec(IxDyn(self.shape()), self.to_vec()?)
            .map_err(|error| ArrayError::layout(error.to_string()))
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

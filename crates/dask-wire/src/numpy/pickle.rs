//! Arrays inside pickles.

use bytes::Bytes;
use dask_pickle::{ByteArray, Global, How, Kind, Reduce, Tuple, View};
use serde::{Serialize, Serializer};

use super::dtype::DType;
use super::{ArrayError, NdArray, c_strides, f_strides, product};

/// The parts of a pickled array.
enum Pickled<'t> {
    /// `_reconstruct(class, (0,), b"b")` with the state `(1, shape, dtype, is_fortran, data)`.
    State { shape: View<'t>, dtype: View<'t>, fortran: bool, data: View<'t> },
    /// `_frombuffer(buffer, dtype, shape, order, axis_order)`.
    Buffer { buffer: View<'t>, dtype: View<'t>, shape: View<'t>, order: &'t str, axes: Option<View<'t>> },
}

fn recognise(view: View<'_>) -> Option<Pickled<'_>> {
    let object = view.object()?;
    let args = object.args();
    match (object.how(), object.callable().as_global()?) {
        (How::Reduce, ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct")) => {
            let state = object.state().filter(|state| state.kind() == Kind::Tuple)?;
            Some(Pickled::State {
                shape: state.item(1)?,
                dtype: state.item(2)?,
                fortran: state.item(3)?.as_bool()?,
                data: state.item(4)?,
            })
        }
        (How::Reduce, ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer")) => {
            Some(Pickled::Buffer {
                buffer: args.item(0)?,
                dtype: args.item(1)?,
                shape: args.item(2)?,
                order: args.item(3).and_then(View::as_str).unwrap_or("C"),
                axes: args.item(4).filter(|axes| !axes.is_none()),
            })
        }
        _ => None,
    }
}

/// Type and bytes of `scalar(dtype, bytes)`.
fn scalar(view: View<'_>) -> Option<(View<'_>, View<'_>)> {
    let object = view.object()?;
    let ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") = object.callable().as_global()?
    else {
        return None;
    };
    Some((object.args().item(0)?, object.args().item(1)?))
}

fn sizes(view: View<'_>) -> Result<Vec<usize>, ArrayError> {
    view.items()
        .map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok()))
        .collect::<Option<_>>()
        .ok_or_else(|| ArrayError::layout("a pickled shape that is none"))
}

pub(super) fn contents(view: View<'_>) -> Result<Bytes, ArrayError> {
    if let Some(bytes) = view.to_bytes() {
        return Ok(bytes);
    }
    // Protocols before 3 have no bytes.
    match dask_pickle::from_view::<serde_bytes::ByteBuf>(view) {
        Ok(bytes) => Ok(bytes.into_vec().into()),
        Err(error) => Err(ArrayError::layout(format!("its data is no bytes: {error}"))),
    }
}

impl NdArray {
    /// Whether this is a pickled array (of any class that derives from NumPy's).
    pub fn is_pickled(view: View<'_>) -> bool {
        recognise(view).is_some()
    }

    /// Reads a pickled array; its data stays where it is, in the pickle or out-of-band. A NumPy scalar is an array
    /// without axes.
    ///
    /// # Errors
    /// If it is none, or one of Python objects.
    pub fn from_view(view: View<'_>) -> Result<Self, ArrayError> {
        let array = match recognise(view) {
            None => match scalar(view) {
                Some((dtype, data)) => {
                    Self::new(DType::from_view(dtype)?, Vec::new(), Vec::new(), 0, contents(data)?)?
                }
                None => return Err(ArrayError::NoArray),
            },
            Some(Pickled::State { shape, dtype, fortran, data }) => {
                let dtype = DType::from_view(dtype)?;
                let shape = sizes(shape)?;
                if dtype.has_objects() {
                    return Err(ArrayError::dtype("an array of Python objects has no plain data".to_owned()));
                }
                let make = if fortran { f_strides } else { c_strides };
                let strides = make(&shape, dtype.size())?;
                Self::new(dtype, shape, strides, 0, contents(data)?)?
            }
            Some(Pickled::Buffer { buffer, dtype, shape, order, axes }) => {
                let dtype = DType::from_view(dtype)?;
                let shape = sizes(shape)?;
                let make = if order == "F" { f_strides } else { c_strides };
                let strides = make(&shape, dtype.size())?;
                let (shape, strides) = match axes {
                    None => (shape, strides),
                    Some(axes) => {
                        let axes = sizes(axes)?;
                        let mut seen = axes.clone();
                        seen.sort_unstable();
                        if !seen.iter().copied().eq(0..shape.len()) {
                            return Err(ArrayError::layout("axes that are no permutation"));
                        }
                        let pick = |axis: &usize| Some((*shape.get(*axis)?, *strides.get(*axis)?));
                        axes.iter().filter_map(pick).unzip()
                    }
                };
                Self::new(dtype, shape, strides, 0, contents(buffer)?)?
            }
        };
        Ok(array.within(view.tree().limits().items))
    }

    /// Shape and objects (in C order) of a pickled array of Python objects.
    pub(crate) fn objects(view: View<'_>) -> Option<(Vec<usize>, Vec<View<'_>>)> {
        let Some(Pickled::State { shape, data, .. }) = recognise(view) else { return None };
        let shape = sizes(shape).ok()?;
        if data.kind() != Kind::List || product(&shape)? != data.len() {
            return None;
        }
        // The list is in C order whatever the order of the array is.
        Some((shape, data.items().collect()))
    }
}

impl Serialize for NdArray {
    /// As a pickle, `numpy.ndarray(shape, dtype, buffer, 0, strides)`: a writable array on any release of NumPy. The data
    /// is copied into the pickle, and with it into the message; large arrays are better scattered, which copies nothing.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let array = self.compact().map_err(serde::ser::Error::custom)?;
        Reduce {
            callable: Global::of("numpy", "ndarray"),
            args: (
                Tuple(&array.shape),
                &array.dtype,
                ByteArray(array.data.clone()),
                0,
                Tuple(&array.strides),
            ),
        }
        .serialize(serializer)
    }
}

//! Pickled NumPy arrays as sequences of sequences, down to numbers or Python objects.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Expected, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use crate::de::De;
use crate::numpy::Type;
use crate::plain::{Plain, bytes_of};
use crate::tree::How;
use crate::view::{Kind, View};
use crate::{Error, magic};

/// NumPy's own limit.
const MAX_DIMENSIONS: usize = 64;

/// An array of objects, or of elements of a type that has a plain meaning.
#[derive(Debug)]
pub(crate) struct Array<'t> {
    elements: Elements<'t>,
    /// Length of each axis, and what lies between one element and the next along it.
    axes: Vec<(usize, usize)>,
}

#[derive(Debug)]
enum Elements<'t> {
    Plain(Type<'t>, Cow<'t, [u8]>),
    /// A list, in C order whatever the order of the array is.
    Objects(View<'t>),
}

fn sizes(view: View<'_>) -> Option<Vec<usize>> {
    let sizes: Option<Vec<usize>> =
        view.items().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect();
    sizes.filter(|sizes| sizes.len() <= MAX_DIMENSIONS)
}

/// The axes of elements that lie one after the other, and the number of elements.
fn axes(shape: &[usize], size: usize, fortran: bool) -> Option<(Vec<(usize, usize)>, usize)> {
    let mut axes: Vec<(usize, usize)> = shape.iter().map(|n| (*n, 0)).collect();
    let mut step = size;
    let mut place = |axis: &mut (usize, usize)| {
        axis.1 = step;
        step = step.checked_mul(axis.0.max(1))?;
        Some(())
    };
    match fortran {
        true => axes.iter_mut().try_for_each(&mut place)?,
        false => axes.iter_mut().rev().try_for_each(&mut place)?,
    }
    let count = if shape.contains(&0) {
        Some(0)
    } else {
        shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n))
    };
    Some((axes, count?))
}

impl<'t> Array<'t> {
    /// `None` if it is no array, or one of elements whose meaning is not known here.
    pub(crate) fn of(view: View<'t>) -> Option<Self> {
        let object = view.object()?;
        let (How::Reduce, (module, maker)) = (object.how(), object.callable().as_global()?) else {
            return None;
        };
        match (module, maker) {
            // `_reconstruct(class, (0,), b"b")` with the state `(1, shape, dtype, is_fortran, data)`.
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
                let state = object.state().filter(|state| state.kind() == Kind::Tuple)?;
                let shape = sizes(state.item(1)?)?;
                let data = state.item(4)?;
                if data.kind() == Kind::List {
                    let (axes, count) = axes(&shape, 1, false)?;
                    return (count == data.len()).then_some(Self { elements: Elements::Objects(data), axes });
                }
                Self::plain(state.item(2)?, &shape, state.item(3)?.as_bool()?, data)
            }
            // `_frombuffer(buffer, dtype, shape, order, axis_order)`.
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => {
                let args = object.args();
                let fortran = args.item(3).and_then(View::as_str) == Some("F");
                let array = Self::plain(args.item(1)?, &sizes(args.item(2)?)?, fortran, args.item(0)?)?;
                let Some(order) = args.item(4).filter(|order| !order.is_none()) else { return Some(array) };
                let order = sizes(order)?;
                let mut seen = order.clone();
                seen.sort_unstable();
                let axes = seen.iter().copied().eq(0..array.axes.len()).then_some(order)?;
                let axes = axes.iter().map(|axis| array.axes.get(*axis).copied()).collect::<Option<_>>()?;
                Some(Self { axes, ..array })
            }
            _ => None,
        }
    }

    fn plain(dtype: View<'t>, shape: &[usize], fortran: bool, data: View<'t>) -> Option<Self> {
        let of = Type::of(dtype)?;
        let bytes = bytes_of(data)?;
        let (axes, count) = axes(shape, of.size, fortran)?;
        let enough = count.checked_mul(of.size)? <= bytes.len();
        enough.then_some(Self { elements: Elements::Plain(of, bytes), axes })
    }

    /// Bytes that its elements take.
    fn len(&self) -> usize {
        match &self.elements {
            Elements::Plain(_, bytes) => bytes.len(),
            Elements::Objects(_) => 0,
        }
    }

    pub(crate) fn visit<V: Visitor<'t>>(self, of: De<'_, 't>, visitor: V) -> Result<V::Value, Error> {
        of.spend_bytes(self.len())?;
        Block { array: &self, axes: &self.axes, at: 0, of: of.deeper()? }.deserialize_any(visitor)
    }
}

/// What is left of an array after some axes have been walked.
#[derive(Clone, Copy)]
struct Block<'b, 'a, 'de> {
    array: &'b Array<'de>,
    axes: &'b [(usize, usize)],
    /// A byte of the data, or the number of an object.
    at: usize,
    of: De<'a, 'de>,
}

/// What a single element is.
enum One<'a, 'de> {
    Object(De<'a, 'de>),
    Plain(Plain<'de>),
    /// "Not a time".
    None,
}

impl<'b, 'a, 'de> Block<'b, 'a, 'de> {
    /// The element; `None` if there are axes left.
    fn one(self) -> Result<Option<One<'a, 'de>>, Error> {
        if !self.axes.is_empty() {
            return Ok(None);
        }
        let one = match &self.array.elements {
            Elements::Objects(objects) => objects.item(self.at).map(|view| One::Object(self.of.beside(view))),
            Elements::Plain(of, bytes) => {
                let range = self.at..self.at.saturating_add(of.size);
                let bytes = match bytes {
                    Cow::Borrowed(bytes) => bytes.get(range).map(Cow::Borrowed),
                    Cow::Owned(bytes) => bytes.get(range).map(|bytes| Cow::Owned(bytes.to_vec())),
                };
                bytes.and_then(|bytes| match of.count(&bytes) {
                    Some(None) => Some(One::None),
                    Some(Some(count)) => Some(One::Plain(Plain::Int(count))),
                    None => of.value(bytes).map(One::Plain),
                })
            }
        };
        one.map(Some).ok_or_else(|| unknown(&"an element"))
    }
}

/// What leads to a conversion through lists.
fn unknown(expected: &dyn Expected) -> Error {
    Error::Object { class: "numpy.ndarray".to_owned(), expected: expected.to_string() }
}

impl<'de> Deserializer<'de> for Block<'_, '_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.one()? {
            None => visitor.visit_seq(Row { of: self, next: 0 }),
            Some(One::Object(object)) => object.deserialize_any(visitor),
            Some(One::Plain(plain)) => self.of.visit_plain(plain, visitor),
            Some(One::None) => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.one()? {
            Some(One::None) => visitor.visit_none(),
            Some(One::Object(object)) => object.deserialize_option(visitor),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.one()? {
            Some(One::Object(object)) => object.deserialize_newtype_struct(name, visitor),
            _ if name.starts_with(magic::PREFIX) && name != magic::VALUE => Err(unknown(&visitor)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.one()? {
            Some(One::Object(object)) => object.deserialize_enum(name, variants, visitor),
            Some(One::Plain(Plain::Text(text))) => visitor.visit_enum(text.into_deserializer()),
            _ => Err(unknown(&visitor)),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.one()? {
            Some(One::Object(object)) => object.deserialize_f64(visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.one()? {
            Some(One::Object(object)) => object.deserialize_seq(visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf unit unit_struct map struct
        identifier
    }
}

/// The blocks along the first axis of one.
struct Row<'b, 'a, 'de> {
    of: Block<'b, 'a, 'de>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Row<'_, '_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(((_, step), axes)) = self.of.axes.split_first().filter(|((n, _), _)| self.next < *n) else {
            return Ok(None);
        };
        // Elements are paid for with their bytes, if they have any.
        let paid = matches!(&self.of.array.elements, Elements::Plain(of, _) if of.size > 0);
        if !paid || !axes.is_empty() {
            self.of.of.spend()?;
        }
        let at = self.of.at.saturating_add(self.next.saturating_mul(*step));
        self.next = self.next.saturating_add(1);
        seed.deserialize(Block { axes, at, ..self.of }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.of.axes.first().map(|(n, _)| n.saturating_sub(self.next))
    }
}

//! From what a payload holds to Rust values.

use dask_pickle::{Kind, Limits, Value as Python, View, ViewDeserializer};
use serde::de::value::{BorrowedStrDeserializer, Error, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

use super::{CollectionKind, DecodeError, Decoded, PICKLE_KINDS};
use crate::handed::{self, Handed, hand_over};
use crate::numpy::{ArrayDe, ArrayError, DType, NdArray, parts};
use crate::value::Value;

/// Said where only one pickle of everything can be converted, by the crate for pickles.
const AS_ONE_PICKLE: &str = "a Python kind that is found in pickles only";

pub(super) fn to<T: DeserializeOwned>(decoded: &Decoded) -> Result<T, DecodeError> {
    if let Decoded::Unserializable(text) = decoded {
        return Err(DecodeError::Unserializable { text: text.clone() });
    }
    let mismatch = |reason: String| DecodeError::Mismatch {
        found: decoded.describe(),
        asked: std::any::type_name::<T>(),
        reason,
    };
    match decoded {
        Decoded::Pickle(tree) if !NdArray::is_pickled(tree.root()) => match dask_pickle::from_tree(tree) {
            Ok(value) => return Ok(value),
            // Arrays inside of other values convert once they are lists.
            Err(dask_pickle::Error::Object { class, .. }) if class.starts_with("numpy.") => {}
            Err(error) => return Err(mismatch(error.to_string())),
        },
        Decoded::Msgpack(value) => return value.to().map_err(|error| mismatch(error.to_string())),
        Decoded::Pickle(_) | Decoded::ArrayArray { .. } | Decoded::Memoryview { .. } => {
            if let Ok(array) = decoded.to_array() {
                match T::deserialize(ArrayDe::new(&array)) {
                    Ok(value) => return Ok(value),
                    Err(error) if error.to_string().contains(AS_ONE_PICKLE) => {}
                    Err(error) if matches!(decoded, Decoded::Pickle(_)) => {
                        return Err(mismatch(error.to_string()));
                    }
                    // Bytes are also what it may be asked for.
                    Err(_) => {}
                }
            }
        }
        _ => {}
    }
    if !matches!(decoded, Decoded::Pickle(_)) {
        match T::deserialize(De(decoded)) {
            Ok(value) => return Ok(value),
            Err(error) if error.to_string().contains(AS_ONE_PICKLE) => {}
            Err(error) => return Err(mismatch(error.to_string())),
        }
    }
    let value = value_within(decoded, &mut Budget::all(decoded, true)).map_err(mismatch)?;
    let pickle = dask_pickle::to_vec(&value).map_err(|error| mismatch(error.to_string()))?;
    let tree = dask_pickle::read(pickle, Vec::new(), &limits_of(decoded))
        .map_err(|error| mismatch(error.to_string()))?;
    dask_pickle::from_tree(&tree).map_err(|error| mismatch(error.to_string()))
}

/// The error that leads to a conversion through one pickle.
pub(crate) fn as_one_pickle<E: serde::de::Error>() -> E {
    E::custom(AS_ONE_PICKLE)
}

/// What conversions may cost.
fn limits_of(decoded: &Decoded) -> Limits {
    let items = |array: &NdArray| Limits { items: array.limit(), ..Limits::default() };
    match decoded {
        Decoded::Pickle(tree) => *tree.limits(),
        Decoded::Array(array) => items(array),
        Decoded::MaskedArray(array) => items(&array.data),
        Decoded::Memoryview { limits, .. }
        | Decoded::ArrayArray { limits, .. }
        | Decoded::Collection { limits, .. } => *limits,
        _ => Limits::default(),
    }
}

fn spend(left: &mut Budget, cost: usize) -> Result<(), String> {
    left.left = left.left.checked_sub(cost).ok_or_else(|| "too many items for the limit".to_owned())?;
    Ok(())
}

/// Pays for what a list of lists of an array's elements takes.
fn spend_array(left: &mut Budget, array: &NdArray) -> Result<(), String> {
    spend(left, array.parts()).map_err(|_| {
        format!(
            "its {} elements are too many for the limit of {} items as Python values (see `pickle_limits`); read it as \
             NdArray, or as a Vec of numbers",
            array.len(),
            array.limit(),
        )
    })
}

pub(super) fn to_value(decoded: &Decoded) -> Result<Python, String> {
    value_within(decoded, &mut Budget::all(decoded, false))
}

/// What a conversion to lists may still cost, and whether it looks for arrays inside of instances of classes, too, which
/// then are no more than what they hold.
struct Budget {
    left: usize,
    instances: bool,
}

impl Budget {
    fn all(decoded: &Decoded, instances: bool) -> Self {
        Self { left: limits_of(decoded).items, instances }
    }
}

fn value_within(decoded: &Decoded, left: &mut Budget) -> Result<Python, String> {
    let bytes = |bytes: &bytes::Bytes| Ok(Python::Bytes(bytes.clone()));
    match decoded {
        Decoded::Pickle(tree) => of_view(tree.root(), tree.limits().depth, left),
        Decoded::Bytes(data) => bytes(data),
        Decoded::ByteArray(data) => Ok(Python::ByteArray(data.clone())),
        Decoded::Array(array) => {
            spend_array(left, array)?;
            array.to_value().map_err(|error| error.to_string())
        }
        Decoded::MaskedArray(array) => {
            spend_array(left, &array.data)?;
            array.to_value().map_err(|error| error.to_string())
        }
        Decoded::Memoryview { data, .. } | Decoded::ArrayArray { data, .. } => match decoded.to_array() {
            Ok(array) => {
                spend_array(left, &array)?;
                array.to_value().map_err(|error| error.to_string())
            }
            Err(_) => bytes(data),
        },
        Decoded::Msgpack(value) => {
            to_python(value, usize::MAX).ok_or_else(|| "a value serialized by itself inside it".to_owned())
        }
        Decoded::Collection { kind: CollectionKind::Dict, items, .. } => {
            let mut pair = |(key, value): &(Option<Value<'static>>, Decoded)| {
                let key = to_python(key.as_ref().unwrap_or(&Value::Nil), usize::MAX)
                    .ok_or_else(|| "a key of an unknown kind".to_owned())?;
                // Arrays on the wire are lists, which are no keys.
                Ok((hashable(key), value_within(value, left)?))
            };
            Ok(Python::Dict(items.iter().map(&mut pair).collect::<Result<_, String>>()?))
        }
        Decoded::Collection { kind, items, .. } => {
            let items = items.iter().map(|(_, item)| value_within(item, left)).collect::<Result<_, _>>()?;
            Ok(match kind {
                CollectionKind::Tuple => Python::Tuple(items),
                CollectionKind::Set => Python::Set(items),
                CollectionKind::FrozenSet => Python::FrozenSet(items),
                CollectionKind::List | CollectionKind::Dict => Python::List(items),
            })
        }
        Decoded::Arrow { .. } | Decoded::Unserializable(_) | Decoded::Opaque { .. } => {
            Err(format!("{} has no plain form", decoded.describe()))
        }
    }
}

pub(super) fn hashable(key: Python) -> Python {
    match key {
        Python::List(items) => Python::Tuple(items.into_iter().map(hashable).collect()),
        key => key,
    }
}

/// Plain data of a message as Python reads it; `None` if it holds a value serialized by itself.
pub(super) fn to_python(value: &Value<'_>, room: usize) -> Option<Python> {
    let room = room.checked_sub(1)?;
    let all =
        |items: &[Value<'_>]| items.iter().map(|item| to_python(item, room)).collect::<Option<Vec<_>>>();
    Some(match value {
        Value::Nil => Python::None,
        Value::Bool(value) => Python::Bool(*value),
        Value::Int(value) => Python::Int(*value),
        Value::UInt(value) => Python::BigInt((*value).into()),
        Value::Float(value) => Python::Float(*value),
        Value::Str(text) => Python::Str(text.to_string()),
        Value::Bin(bytes) => Python::Bytes(bytes.to_vec().into()),
        Value::Array(items) => Python::List(all(items)?),
        Value::Set(items) => Python::Set(all(items)?.into_iter().map(hashable).collect()),
        Value::Map(pairs) => Python::Dict(
            pairs
                .iter()
                .map(|(key, value)| Some((hashable(to_python(key, room)?), to_python(value, room)?)))
                .collect::<Option<_>>()?,
        ),
        Value::Payload(_) => return None,
    })
}

/// A node as a value, with arrays as lists of lists.
fn of_view(view: View<'_>, room: usize, left: &mut Budget) -> Result<Python, String> {
    let too_deep = || format!("nested deeper than {} levels", view.tree().limits().depth);
    spend(left, 1)?;
    let mut items = || {
        let room = room.checked_sub(1).ok_or_else(too_deep)?;
        view.items().map(|item| of_view(item, room, left)).collect::<Result<Vec<_>, String>>()
    };
    Ok(match view.kind() {
        Kind::List => Python::List(items()?),
        Kind::Tuple => Python::Tuple(items()?),
        Kind::Set => Python::Set(items()?),
        Kind::FrozenSet => Python::FrozenSet(items()?),
        Kind::Dict => {
            let room = room.checked_sub(1).ok_or_else(too_deep)?;
            let mut pairs = Vec::new();
            for (key, value) in view.pairs() {
                pairs.push((of_view(key, room, left)?, of_view(value, room, left)?));
            }
            Python::Dict(pairs)
        }
        Kind::Object if NdArray::is_pickled(view) => {
            if let Some((shape, objects)) = NdArray::objects(view) {
                spend(left, parts(&shape))?;
                let room = room.checked_sub(shape.len().saturating_add(1)).ok_or_else(too_deep)?;
                let objects = objects
                    .into_iter()
                    .map(|object| of_view(object, room, left))
                    .collect::<Result<_, _>>()?;
                return nest(&shape, objects).ok_or_else(|| "an array of another shape".to_owned());
            }
            let array = NdArray::from_view(view).map_err(|error| error.to_string())?;
            spend_array(left, &array)?;
            array.to_value().map_err(|error| error.to_string())?
        }
        Kind::Object if left.instances && is_instance(view) => {
            let room = room.checked_sub(1).ok_or_else(too_deep)?;
            instance(view, room, left)?
        }
        _ => {
            let value = Python::from_view(view).map_err(|error| error.to_string())?;
            spend(left, count_values(&value))?;
            value
        }
    })
}

/// Whether an object may hold arrays: an instance of a class, or a container of the standard library.
fn is_instance(view: View<'_>) -> bool {
    let Some((module, _)) = view.class_name() else { return false };
    let numpy = module == "numpy" || module.starts_with("numpy.");
    !numpy && !matches!(module, "builtins" | "__builtin__" | "_codecs" | "datetime")
}

/// An object with arrays in it as lists of lists.
fn instance(view: View<'_>, room: usize, left: &mut Budget) -> Result<Python, String> {
    let Some(object) = view.object() else { return Ok(Python::None) };
    let mut of = |view| of_view(view, room, left);
    let (module, name) = object.class_name().unwrap_or_default();
    Ok(Python::Object(Box::new(dask_pickle::Object {
        class: format!("{module}.{name}"),
        how: object.how(),
        // What a class that was pickled by value is made of is of no use here, and may refer to itself.
        callable: match object.callable().object().and_then(|maker| maker.callable().as_global()) {
            Some((_, "_make_skeleton_class")) => {
                Python::Global { module: module.to_owned(), qualname: name.to_owned() }
            }
            _ => of(object.callable())?,
        },
        args: of(object.args())?,
        kwargs: object.kwargs().map(&mut of).transpose()?,
        state: object.state().map(&mut of).transpose()?,
        items: object.items().map(&mut of).collect::<Result<_, _>>()?,
        pairs: object
            .pairs()
            .map(|(key, value)| Ok((of(key)?, of(value)?)))
            .collect::<Result<_, String>>()?,
    })))
}

/// How many values there are in it.
pub(crate) fn count_values(value: &Python) -> usize {
    let pairs = |pairs: &[(Python, Python)]| {
        pairs.iter().map(|(key, value)| count_values(key) + count_values(value)).sum()
    };
    let inner: usize = match value {
        Python::List(items) | Python::Tuple(items) | Python::Set(items) | Python::FrozenSet(items) => {
            items.iter().map(count_values).sum()
        }
        Python::Dict(of) => pairs(of),
        Python::Object(object) => {
            let options = [&object.kwargs, &object.state];
            let options: usize = options.into_iter().flatten().map(count_values).sum();
            let items: usize = object.items.iter().map(count_values).sum();
            count_values(&object.callable)
                + count_values(&object.args)
                + options
                + items
                + pairs(&object.pairs)
        }
        _ => 0,
    };
    inner + 1
}

/// Lists of lists of the last axis.
fn nest(shape: &[usize], mut items: Vec<Python>) -> Option<Python> {
    let Some((_, inner)) = shape.split_first() else { return items.pop() };
    for n in inner.iter().rev() {
        if *n == 0 {
            items = Vec::new();
            continue;
        }
        let mut rows = Vec::with_capacity(items.len() / n);
        let mut rest = items.into_iter().peekable();
        while rest.peek().is_some() {
            rows.push(Python::List(rest.by_ref().take(*n).collect()));
        }
        items = rows;
    }
    // Axes without elements leave no trace in the elements.
    if shape.contains(&0) {
        return Some(empty(shape));
    }
    Some(Python::List(items))
}

fn empty(shape: &[usize]) -> Python {
    match shape.split_first() {
        Some((0, _)) | None => Python::List(Vec::new()),
        Some((n, inner)) => Python::List(vec![empty(inner); *n]),
    }
}

pub(crate) fn describe_view(view: View<'_>) -> String {
    if NdArray::is_pickled(view) {
        return match NdArray::from_view(view) {
            Ok(array) => format!("a pickled NumPy array of {} {:?}", array.dtype(), array.shape()),
            Err(_) => "a pickled NumPy array of objects".to_owned(),
        };
    }
    match (view.kind(), view.class_name()) {
        (Kind::Object, Some((module, name))) => format!("an object of {module}.{name}"),
        (Kind::Global, Some((module, name))) => format!("{module}.{name}"),
        (kind, _) => kind.name().to_owned(),
    }
}

/// The type of an element as the module `struct` names it, with what NumPy adds to that.
pub(super) fn of_format(format: &str) -> Result<DType, ArrayError> {
    let (order, code) = match format.split_at_checked(1) {
        Some((order @ ("@" | "=" | "<" | ">" | "!"), code)) => (order, code),
        _ => ("@", format),
    };
    // Sizes are those of C, unless an order is given.
    let dtype = match (code, order) {
        ("b", _) => "i1",
        ("B" | "c", _) => "u1",
        ("?", _) => "?",
        ("h", _) => "i2",
        ("H", _) => "u2",
        ("i", _) => "i4",
        ("I", _) => "u4",
        ("l" | "n", "@") | ("q", _) => "i8",
        ("L" | "N", "@") | ("Q", _) => "u8",
        ("l", _) => "i4",
        ("L", _) => "u4",
        ("e", _) => "f2",
        ("f", _) => "f4",
        ("d", _) => "f8",
        ("Zf", _) => "c8",
        ("Zd", _) => "c16",
        ("w", _) => "U1",
        _ => return Err(ArrayError::DType(format!("{format:?} is no format of numbers"))),
    };
    let order = if matches!(order, ">" | "!") { ">" } else { "<" };
    DType::parse(&format!("{order}{dtype}"))
}

impl Decoded {
    /// The value as a NumPy array: one sent as such or pickled, an `array.array`, or a `memoryview` of numbers.
    ///
    /// # Errors
    /// If it is no array, or one of Python objects.
    pub fn to_array(&self) -> Result<NdArray, ArrayError> {
        let typed = |code: &str, shape: Vec<usize>, data: &bytes::Bytes, limits: &Limits| {
            NdArray::from_bytes(of_format(code)?, shape, data.clone()).map(|array| array.within(limits.items))
        };
        match self {
            Decoded::Array(array) => Ok(array.clone()),
            Decoded::Pickle(tree) => NdArray::from_view(tree.root()),
            Decoded::Memoryview { data, format, shape, limits } => typed(format, shape.clone(), data, limits),
            Decoded::ArrayArray { data, typecode, limits } => {
                let size = typed(typecode, vec![0], data, limits)?.dtype().size().max(1);
                typed(typecode, vec![data.len() / size], data, limits)
            }
            _ => Err(ArrayError::NoArray),
        }
    }
}

/// Deserializes what can be read in place.
#[derive(Clone, Copy)]
struct De<'a>(&'a Decoded);

impl<'de> De<'de> {
    fn pickled(self) -> Option<ViewDeserializer<'de>> {
        match self.0 {
            Decoded::Pickle(tree) => Some(ViewDeserializer(tree.root())),
            _ => None,
        }
    }
}

fn of_pickle(error: dask_pickle::Error) -> Error {
    match error {
        // Arrays inside of other values convert once they are lists.
        dask_pickle::Error::Object { class, .. } if class.starts_with("numpy.") => as_one_pickle(),
        error => serde::de::Error::custom(error),
    }
}

/// Methods that make no difference between kinds, but for pickles.
macro_rules! as_any {
    ($($method:ident($($arg:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, Error> {
            match self.pickled() {
                Some(pickled) => pickled.$method($($arg,)* visitor).map_err(of_pickle),
                None => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for De<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Decoded::Pickle(tree) => {
                ViewDeserializer(tree.root()).deserialize_any(visitor).map_err(of_pickle)
            }
            Decoded::Bytes(data)
            | Decoded::ByteArray(data)
            | Decoded::Memoryview { data, .. }
            | Decoded::ArrayArray { data, .. } => visitor.visit_borrowed_bytes(data),
            Decoded::Array(array) => ArrayDe::new(array).deserialize_any(visitor),
            Decoded::MaskedArray(array) => ArrayDe::masked(array).deserialize_any(visitor),
            Decoded::Collection { kind: CollectionKind::Dict, items, .. } => {
                visitor.visit_map(Pairs { pairs: items.iter(), value: None })
            }
            Decoded::Collection { items, .. } => visitor.visit_seq(Items(items.iter())),
            Decoded::Msgpack(_) => Err(as_one_pickle()),
            Decoded::Arrow { .. } | Decoded::Unserializable(_) | Decoded::Opaque { .. } => {
                Err(serde::de::Error::custom(format_args!("{} has no plain form", self.0.describe())))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Decoded::Pickle(tree) if tree.root().is_none() => visitor.visit_none(),
            Decoded::Msgpack(Value::Nil) => visitor.visit_none(),
            Decoded::Array(array) => ArrayDe::new(array).deserialize_option(visitor),
            Decoded::MaskedArray(array) => ArrayDe::masked(array).deserialize_option(visitor),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Decoded::Pickle(tree) => {
                ViewDeserializer(tree.root()).deserialize_seq(visitor).map_err(of_pickle)
            }
            Decoded::Bytes(data) | Decoded::ByteArray(data) => {
                visitor.visit_seq(SeqDeserializer::new(data.iter().copied()))
            }
            Decoded::Memoryview { .. } | Decoded::ArrayArray { .. } => Err(as_one_pickle()),
            Decoded::Array(array) => ArrayDe::new(array).deserialize_seq(visitor),
            Decoded::MaskedArray(array) => ArrayDe::masked(array).deserialize_seq(visitor),
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

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.0, self.pickled()) {
            (Decoded::Array(array), _) => ArrayDe::new(array).deserialize_bytes(visitor),
            (_, Some(pickled)) => pickled.deserialize_bytes(visitor).map_err(of_pickle),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.0, self.pickled()) {
            (Decoded::Array(array), _) => ArrayDe::new(array).deserialize_str(visitor),
            (_, Some(pickled)) => pickled.deserialize_str(visitor).map_err(of_pickle),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match (name, self.0) {
            (handed::ARRAY, Decoded::Pickle(_)) => {}
            (handed::ARRAY, decoded) => {
                let array = decoded.to_array().map_err(|error| match error {
                    ArrayError::NoArray => serde::de::Error::custom(format_args!(
                        "{} where a NumPy array was expected",
                        decoded.describe()
                    )),
                    error => serde::de::Error::custom(error),
                })?;
                return hand_over(Handed::Array(array), visitor);
            }
            (handed::TABLE, Decoded::Arrow { stream, .. } | Decoded::Bytes(stream)) => {
                return hand_over(Handed::Stream(stream.clone()), visitor);
            }
            (handed::TABLE, Decoded::Pickle(_)) => {}
            (handed::TABLE, decoded) => {
                return Err(serde::de::Error::custom(format_args!(
                    "{} where an Arrow table was expected",
                    decoded.describe()
                )));
            }
            _ => {}
        }
        match self.pickled() {
            Some(pickled) => pickled.deserialize_newtype_struct(name, visitor).map_err(of_pickle),
            None if name.starts_with(PICKLE_KINDS) => Err(as_one_pickle()),
            None => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.pickled() {
            Some(pickled) => pickled.deserialize_enum(name, variants, visitor).map_err(of_pickle),
            None => Err(as_one_pickle()),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    as_any! {
        deserialize_bool(); deserialize_i8(); deserialize_i16(); deserialize_i32(); deserialize_i64();
        deserialize_i128(); deserialize_u8(); deserialize_u16(); deserialize_u32(); deserialize_u64();
        deserialize_u128(); deserialize_f32(); deserialize_f64(); deserialize_char(); deserialize_unit();
        deserialize_map(); deserialize_identifier();
        deserialize_unit_struct(name: &'static str);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
    }
}

type Item = (Option<Value<'static>>, Decoded);

struct Items<'a>(std::slice::Iter<'a, Item>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|(_, item)| seed.deserialize(De(item))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Pairs<'a> {
    pairs: std::slice::Iter<'a, Item>,
    value: Option<&'a Decoded>,
}

impl<'de> MapAccess<'de> for Pairs<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.pairs.next() else { return Ok(None) };
        self.value = Some(value);
        let key = match key {
            Some(Value::Str(text)) => seed.deserialize(BorrowedStrDeserializer::new(text)),
            Some(Value::Int(value)) => seed.deserialize(value.into_deserializer()),
            Some(Value::UInt(value)) => seed.deserialize(value.into_deserializer()),
            Some(Value::Bool(value)) => seed.deserialize(value.into_deserializer()),
            _ => Err(as_one_pickle()),
        };
        key.map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(De(value)),
            None => Err(serde::de::Error::custom("a value was asked for before its key")),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.pairs.len())
    }
}

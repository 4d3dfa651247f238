//! What objects of well-known Python types mean as plain data.

use std::borrow::Cow;

use num_bigint::BigInt;

use crate::array::Array;
use crate::numpy;
use crate::time::{Date, DateTime, Time, TimeDelta};
use crate::tree::How;
use crate::view::{Items, Kind, ObjectView, Pairs, View};

/// The meaning of a node.
#[derive(Debug)]
pub(crate) enum Plain<'t> {
    /// The node means itself.
    Same,
    /// The node means another one: an enum member its value, an object its state.
    Other(View<'t>),
    Bool(bool),
    Int(i64),
    BigInt(BigInt),
    Float(f64),
    Bytes(Cow<'t, [u8]>),
    ByteArray(Cow<'t, [u8]>),
    Text(String),
    Set(View<'t>),
    FrozenSet(View<'t>),
    /// Items of an argument and items appended.
    List(Option<View<'t>>, Items<'t>),
    /// The positional arguments of a namedtuple.
    Tuple(Items<'t>),
    /// Pairs of an argument and pairs set.
    Map(Option<View<'t>>, Pairs<'t>),
    /// The pairs of two dicts: instance attributes and slots.
    Attributes(View<'t>, View<'t>),
    /// An object without any attribute.
    Empty,
    /// Named arguments.
    Fields(&'static [&'static str], Items<'t>),
    Complex(f64, f64),
    Date(Date),
    Time(Time, Option<&'t str>),
    DateTime(DateTime, Option<&'t str>),
    TimeDelta(TimeDelta),
    Decimal(&'t str),
    Fraction(BigInt, BigInt),
    Uuid([u8; 16]),
    Array(Box<Array<'t>>),
    /// Nothing is known about it.
    Unknown,
}

/// The bytes of a node in any of the forms in which protocols write them.
pub(crate) fn bytes_of(view: View<'_>) -> Option<Cow<'_, [u8]>> {
    if let Some(bytes) = view.as_bytes() {
        return Some(Cow::Borrowed(bytes));
    }
    if let Some(text) = view.as_str() {
        return latin1(text).map(Cow::Owned);
    }
    let object = view.object()?;
    match (object.how(), object.callable().as_global()?) {
        // Protocols 0 to 2 have no bytes: they write text and call the encoder.
        (How::Reduce, ("_codecs", "encode")) => {
            object.args().item(0)?.as_str().and_then(latin1).map(Cow::Owned)
        }
        (How::Reduce, ("builtins" | "__builtin__", "bytes")) if object.args().is_empty() => {
            Some(Cow::Borrowed(&[]))
        }
        _ => None,
    }
}

fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

fn small<T: TryFrom<i64>>(view: Option<View<'_>>) -> Option<T> {
    T::try_from(view?.as_i64()?).ok()
}

/// As [`small`], zero if missing.
fn or_zero<T: TryFrom<i64> + Default>(view: Option<View<'_>>) -> Option<T> {
    match view {
        None => Some(T::default()),
        some => small(some),
    }
}

impl<'t> Plain<'t> {
    pub(crate) fn of(view: View<'t>) -> Plain<'t> {
        match view.object() {
            None => Plain::Same,
            Some(object) => known(view, object).unwrap_or_else(|| by_shape(object)),
        }
    }
}

/// An optional argument that is a container, if it is there.
fn container(view: Option<View<'_>>) -> Option<Option<View<'_>>> {
    match view {
        None => Some(None),
        Some(view) => matches!(
            view.kind(),
            Kind::List | Kind::Tuple | Kind::Set | Kind::FrozenSet | Kind::Dict | Kind::None
        )
        .then_some(Some(view)),
    }
}

/// The only argument, which holds items; without one, the empty tuple of arguments.
fn items_arg(args: View<'_>) -> Option<View<'_>> {
    container(args.item(0)).map(|items| items.unwrap_or(args))
}

/// The meaning of an object by the name of what makes it.
fn known<'t>(view: View<'t>, object: ObjectView<'t>) -> Option<Plain<'t>> {
    let args = object.args();
    if let Some(("builtins" | "__builtin__", "getattr")) = object.callable().as_global() {
        // An enum member by name, a method by name: the name says it best.
        return args.item(1).map(Plain::Other);
    }
    let (module, name) = object.class_name()?;
    let arg = |index: usize| args.item(index);
    let plain = match (module, name) {
        ("_codecs", "encode") | ("builtins" | "__builtin__", "bytes") => Plain::Bytes(bytes_of(view)?),
        ("builtins" | "__builtin__", "bytearray") => match arg(0) {
            None => Plain::ByteArray(Cow::Borrowed(&[])),
            Some(bytes) => Plain::ByteArray(bytes_of(bytes)?),
        },
        ("builtins" | "__builtin__" | "sets", "set" | "Set") => Plain::Set(items_arg(args)?),
        ("builtins" | "__builtin__", "frozenset") => Plain::FrozenSet(items_arg(args)?),
        ("builtins" | "__builtin__", "complex") => {
            Plain::Complex(number(arg(0)?)?, arg(1).map_or(Some(0.0), number)?)
        }
        ("builtins" | "__builtin__", "range" | "xrange" | "slice") => {
            Plain::Fields(&["start", "stop", "step"], args.items())
        }
        ("collections", "OrderedDict" | "Counter") => Plain::Map(container(arg(0))?, object.pairs()),
        ("collections", "defaultdict") => Plain::Map(container(arg(1))?, object.pairs()),
        ("collections", "deque") => Plain::List(container(arg(0))?, object.items()),
        ("pathlib" | "pathlib._local", class) if class.ends_with("Path") => Plain::Text(path(class, args)?),
        ("datetime", _) => date_like(name, args)?,
        ("decimal" | "_decimal" | "_pydecimal", "Decimal") => Plain::Decimal(arg(0)?.as_str()?),
        ("fractions", "Fraction") => fraction(args)?,
        ("uuid", "UUID") => uuid(object)?,
        ("numpy" | "numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => numpy::scalar(args)?,
        (_, "_reconstruct" | "_frombuffer") => Plain::Array(Box::new(Array::of(view)?)),
        _ => return None,
    };
    Some(plain)
}

/// The meaning of an object of an unknown class by what it consists of.
fn by_shape(object: ObjectView<'_>) -> Plain<'_> {
    if object.pairs().len() > 0 {
        return Plain::Map(None, object.pairs());
    }
    if object.items().len() > 0 {
        return Plain::List(None, object.items());
    }
    let arguments = object.arguments();
    let new = object.how() != How::Reduce || object.through_copyreg().is_some();
    if let Some(state) = object.state() {
        // A state may be the attributes, or a pair of attributes and slots.
        match (state.kind(), state.item(0), state.item(1)) {
            (Kind::Dict, ..) if !(new && arguments.len() > 0) => return Plain::Other(state),
            (Kind::Tuple, Some(attributes), Some(slots))
                if state.len() == 2
                    && slots.kind() == Kind::Dict
                    && matches!(attributes.kind(), Kind::Dict | Kind::None) =>
            {
                return Plain::Attributes(attributes, slots);
            }
            _ => {}
        }
        if !new && object.class_name().is_some_and(|(module, _)| is_builtin(module)) {
            return Plain::Unknown;
        }
    }
    match object.through_copyreg() {
        // A subclass of a built-in type as protocols 0 and 1 write it.
        Some("_reconstructor") => match arguments.clone().next() {
            Some(value) => return Plain::Other(value),
            None => return Plain::Empty,
        },
        _ if new && arguments.len() == 0 && object.kwargs().is_none_or(View::is_empty) => {
            return if object.state().is_none() { Plain::Empty } else { Plain::Unknown };
        }
        // What is made with keywords is no tuple of the rest.
        _ if new && object.kwargs().is_some_and(|kwargs| !kwargs.is_empty()) => return Plain::Unknown,
        _ if new => return Plain::Tuple(arguments),
        _ => {}
    }
    // One plain argument and nothing else is how enum members are written. Exceptions are, too, but mean no more
    // than their names say; nothing in a pickle tells other classes with one argument from enums.
    let mut arguments = arguments;
    match (arguments.next(), arguments.next(), object.class_name()) {
        (Some(value), None, Some((module, name)))
            if !is_builtin(module)
                && !is_exception(name)
                && object.state().is_none()
                && matches!(
                    value.kind(),
                    Kind::Bool | Kind::Int | Kind::BigInt | Kind::Float | Kind::Str | Kind::Tuple
                ) =>
        {
            Plain::Other(value)
        }
        _ => Plain::Unknown,
    }
}

/// Whether a class is an exception, as far as its name tells.
fn is_exception(name: &str) -> bool {
    ["Error", "Exception", "Warning", "Exit", "Interrupt"].iter().any(|end| name.ends_with(end))
}

fn is_builtin(module: &str) -> bool {
    matches!(module, "builtins" | "__builtin__" | "exceptions" | "functools" | "operator" | "_operator")
}

fn number(view: View<'_>) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "an int where a float is meant")]
    view.as_f64().or_else(|| view.as_i64().map(|int| int as f64))
}

fn path(class: &str, args: View<'_>) -> Option<String> {
    const LONGEST: usize = 65_536;
    let separator = if class.contains("Windows") { '\\' } else { '/' };
    let mut path = String::new();
    for part in args.items() {
        if !path.is_empty() && !path.ends_with(separator) {
            path.push(separator);
        }
        path.push_str(part.as_str()?);
        if path.len() > LONGEST {
            return None;
        }
    }
    if path.is_empty() {
        path.push('.');
    }
    Some(path)
}

/// A time zone: its offset if it is fixed, its name if it has one.
fn zone(view: Option<View<'_>>) -> Option<(Option<i32>, Option<&str>)> {
    let Some(view) = view.filter(|view| !view.is_none()) else { return Some((None, None)) };
    if let Some((_, "UTC" | "utc")) = view.as_global() {
        return Some((Some(0), None));
    }
    let object = view.object()?;
    let args = object.args();
    // Protocols before 4 reach `ZoneInfo._unpickle` by getattr.
    if let Some(getattr) = object.callable().object() {
        let method = getattr.args().item(1)?.as_str()?;
        return (getattr.class_name()? == ("zoneinfo", "ZoneInfo") && method == "_unpickle")
            .then(|| Some((None, Some(args.item(0)?.as_str()?))))
            .flatten();
    }
    match object.class_name()? {
        ("datetime", "timezone") => {
            let Plain::TimeDelta(delta) = Plain::of(args.item(0)?) else { return None };
            let (whole, rest) =
                (delta.total_microseconds() / 1_000_000, delta.total_microseconds() % 1_000_000);
            // Offsets here are whole seconds.
            (rest == 0).then_some((Some(i32::try_from(whole).ok()?), None))
        }
        ("pytz" | "pytz.utc", "_UTC" | "UTC") | ("dateutil.tz.tz", "tzutc") => Some((Some(0), None)),
        ("pytz", "_p") if args.len() == 4 => Some((Some(small(args.item(1))?), None)),
        ("zoneinfo", "ZoneInfo._unpickle" | "ZoneInfo") => Some((None, Some(args.item(0)?.as_str()?))),
        _ => None,
    }
}

fn date_like<'t>(name: &str, args: View<'t>) -> Option<Plain<'t>> {
    let arg = |index: usize| args.item(index);
    let packed = arg(0).and_then(bytes_of);
    let plain = match name {
        "date" => Plain::Date(match packed.as_deref() {
            Some([high, low, month, day]) => {
                Date { year: u16::from_be_bytes([*high, *low]), month: *month, day: *day }
            }
            Some(_) => return None,
            None => Date { year: small(arg(0))?, month: small(arg(1))?, day: small(arg(2))? },
        }),
        "time" => {
            let (offset_seconds, zone) = zone(arg(if packed.is_some() { 1 } else { 4 }))?;
            let time = match packed.as_deref() {
                Some(bytes) => unpack_time(bytes)?,
                None => Time {
                    hour: or_zero(arg(0))?,
                    minute: or_zero(arg(1))?,
                    second: or_zero(arg(2))?,
                    microsecond: or_zero(arg(3))?,
                    offset_seconds: None,
                    fold: false,
                },
            };
            Plain::Time(Time { offset_seconds, ..time }, zone)
        }
        "datetime" => {
            let (offset_seconds, zone) = zone(arg(if packed.is_some() { 1 } else { 7 }))?;
            let (date, time) = match packed.as_deref() {
                Some([high, low, month, day, clock @ ..]) => {
                    let year = u16::from_be_bytes([*high, *low]);
                    let time = unpack_time(clock)?;
                    (Date { year, month: month & 0x7f, day: *day }, Time { fold: month & 0x80 != 0, ..time })
                }
                Some(_) => return None,
                None => (
                    Date { year: small(arg(0))?, month: small(arg(1))?, day: small(arg(2))? },
                    Time {
                        hour: or_zero(arg(3))?,
                        minute: or_zero(arg(4))?,
                        second: or_zero(arg(5))?,
                        microsecond: or_zero(arg(6))?,
                        offset_seconds: None,
                        fold: false,
                    },
                ),
            };
            Plain::DateTime(DateTime::new(date, Time { offset_seconds, ..time }), zone)
        }
        "timedelta" => Plain::TimeDelta(TimeDelta {
            days: or_zero(arg(0))?,
            seconds: or_zero(arg(1))?,
            microseconds: or_zero(arg(2))?,
        }),
        "timezone" => Plain::Other(arg(0)?),
        _ => return None,
    };
    Some(plain)
}

fn unpack_time(bytes: &[u8]) -> Option<Time> {
    let [hour, minute, second, high, middle, low] = bytes else { return None };
    Some(Time {
        hour: hour & 0x7f,
        minute: *minute,
        second: *second,
        microsecond: u32::from_be_bytes([0, *high, *middle, *low]),
        offset_seconds: None,
        fold: hour & 0x80 != 0,
    })
}

/// Largest text of a fraction that is parsed: parsing takes quadratic time.
const FRACTION_DIGITS: usize = 10_000;

fn fraction(args: View<'_>) -> Option<Plain<'_>> {
    let first = args.item(0)?;
    if let Some(text) = first.as_str() {
        if text.len() > FRACTION_DIGITS {
            return None;
        }
        let (num, den) = text.split_once('/').unwrap_or((text, "1"));
        return Some(Plain::Fraction(num.parse().ok()?, den.parse().ok()?));
    }
    let den = args.item(1).map_or_else(|| Some(BigInt::from(1)), View::to_bigint)?;
    Some(Plain::Fraction(first.to_bigint()?, den))
}

fn uuid(object: ObjectView<'_>) -> Option<Plain<'_>> {
    if let Some(bytes) = object.args().item(1).and_then(bytes_of) {
        return Some(Plain::Uuid(bytes.as_ref().try_into().ok()?));
    }
    let state = object.state().filter(|state| state.len() <= 8)?;
    let int = state.get("int")?.to_bigint()?;
    Some(Plain::Uuid(u128::try_from(int).ok()?.to_be_bytes()))
}

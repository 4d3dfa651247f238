//! Rust types that are elements of arrays.

use super::dtype::{ByteOrder, DType, DTypeKind};

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that has the same bytes as a NumPy element.
///
/// Types match exactly: `i64` reads `int64` (and the counts of `datetime64` and `timedelta64`, where `i64::MIN` is
/// "not a time"), but no other integer. Complex numbers are pairs `[re, im]`. To convert between types, go through
/// [`NdArray::elements`](super::NdArray::elements) or serde.
///
/// `float16` is read as `half::f16` with the feature `half`.
pub trait Scalar: sealed::Sealed + Copy + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// The data type that arrays made of it have.
    fn dtype() -> DType;

    /// Whether it reads elements of this type.
    fn matches(dtype: &DType) -> bool;

    /// Reads one element.
    #[doc(hidden)]
    fn read(bytes: &[u8], big: bool) -> Option<Self>;

    /// The bytes as elements, if they are aligned.
    #[doc(hidden)]
    fn cast(bytes: &[u8]) -> Option<&[Self]>;

    /// The elements as bytes.
    #[doc(hidden)]
    fn as_bytes(items: &[Self]) -> &[u8];
}

macro_rules! scalars {
    ($($type:ty, $size:literal, $make:ident, $kind:pat,)*) => {$(
        impl sealed::Sealed for $type {}

        impl Scalar for $type {
            fn dtype() -> DType {
                DType::plain(DTypeKind::$make, $size)
            }

            fn matches(dtype: &DType) -> bool {
                dtype.size() == $size && matches!(dtype.kind(), $kind)
            }

            fn read(bytes: &[u8], big: bool) -> Option<Self> {
                let bytes = bytes.try_into().ok()?;
                Some(if big { <$type>::from_be_bytes(bytes) } else { <$type>::from_le_bytes(bytes) })
            }

            fn cast(bytes: &[u8]) -> Option<&[Self]> {
                bytemuck::try_cast_slice(bytes).ok()
            }

            fn as_bytes(items: &[Self]) -> &[u8] {
                bytemuck::cast_slice(items)
            }
        }
    )*};
}

scalars! {
    i8, 1, Int, DTypeKind::Int,
    i16, 2, Int, DTypeKind::Int,
    i32, 4, Int, DTypeKind::Int,
    i64, 8, Int, DTypeKind::Int | DTypeKind::DateTime(_) | DTypeKind::TimeDelta(_),
    u8, 1, UInt, DTypeKind::UInt,
    u16, 2, UInt, DTypeKind::UInt,
    u32, 4, UInt, DTypeKind::UInt,
    u64, 8, UInt, DTypeKind::UInt,
    f32, 4, Float, DTypeKind::Float,
    f64, 8, Float, DTypeKind::Float,
}

#[cfg(feature = "half")]
scalars! {
    half::f16, 2, Float, DTypeKind::Float,
}

macro_rules! complex {
    ($($part:ty, $size:literal;)*) => {$(
        impl sealed::Sealed for [$part; 2] {}

        impl Scalar for [$part; 2] {
            fn dtype() -> DType {
                DType::plain(DTypeKind::Complex, $size)
            }

            fn matches(dtype: &DType) -> bool {
                dtype.size() == $size && matches!(dtype.kind(), DTypeKind::Complex)
            }

            fn read(bytes: &[u8], big: bool) -> Option<Self> {
                let (re, im) = bytes.split_at_checked($size / 2)?;
                Some([<$part as Scalar>::read(re, big)?, <$part as Scalar>::read(im, big)?])
            }

            fn cast(bytes: &[u8]) -> Option<&[Self]> {
                bytemuck::try_cast_slice(bytes).ok()
            }

            fn as_bytes(items: &[Self]) -> &[u8] {
                bytemuck::cast_slice(items)
            }
        }
    )*};
}

complex! {
    f32, 8;
    f64, 16;
}

impl sealed::Sealed for bool {}

impl Scalar for bool {
    fn dtype() -> DType {
        DType::plain(DTypeKind::Bool, 1)
    }

    fn matches(dtype: &DType) -> bool {
        matches!(dtype.kind(), DTypeKind::Bool)
    }

    fn read(bytes: &[u8], _: bool) -> Option<Self> {
        bytes.first().map(|byte| *byte != 0)
    }

    fn cast(bytes: &[u8]) -> Option<&[Self]> {
        bytemuck::checked::try_cast_slice(bytes).ok()
    }

    fn as_bytes(items: &[Self]) -> &[u8] {
        bytemuck::cast_slice(items)
    }
}

/// An integer of up to eight bytes.
pub(super) fn integer(bytes: &[u8], order: ByteOrder, is_signed: bool) -> Option<i128> {
    let mut wide = [0u8; 16];
    wide.get_mut(..bytes.len()).filter(|_| bytes.len() <= 8)?.copy_from_slice(bytes);
    if order == ByteOrder::Big {
        wide.get_mut(..bytes.len())?.reverse();
    }
    let last = bytes.len().checked_sub(1).and_then(|last| wide.get(last))?;
    if is_signed && last & 0x80 != 0 {
        wide.get_mut(bytes.len()..)?.fill(0xff);
    }
    Some(i128::from_le_bytes(wide))
}

/// A float of two, four or eight bytes.
pub(super) fn float(bytes: &[u8], order: ByteOrder) -> Option<f64> {
    let big = order == ByteOrder::Big;
    match bytes.len() {
        2 => u16::read(bytes, big).map(half),
        4 => f32::read(bytes, big).map(f64::from),
        8 => f64::read(bytes, big),
        _ => None,
    }
}

/// The value of a half-precision float.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

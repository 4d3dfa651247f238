//! numpy scalars: a dtype and the bytes of one element.

use std::borrow::Cow;

use crate::plain::{Plain, bytes_of};
use crate::view::View;

fn fixed<const N: usize>(bytes: &[u8], big: bool) -> Option<[u8; N]> {
    let mut le: [u8; N] = bytes.try_into().ok()?;
    if big {
        le.reverse();
    }
    Some(le)
}

/// The value of a half-precision float.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f64::from(bits & 0x3ff);
    match exponent {
        0 => sign * mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1024.0 + mantissa) * 2f64.powi(exponent - 25),
    }
}

fn float(bytes: &[u8], big: bool) -> Option<f64> {
    match bytes.len() {
        2 => fixed(bytes, big).map(|le| half(u16::from_le_bytes(le))),
        4 => fixed(bytes, big).map(|le| f64::from(f32::from_le_bytes(le))),
        8 => fixed(bytes, big).map(f64::from_le_bytes),
        _ => None,
    }
}

fn integer(bytes: &[u8], big: bool, signed: bool) -> Option<i128> {
    let mut le = bytes.to_vec();
    if big {
        le.reverse();
    }
    let negative = signed && le.last()? & 0x80 != 0;
    let mut wide = if negative { [0xff; 16] } else { [0; 16] };
    wide.get_mut(..le.len()).filter(|_| le.len() <= 8)?.copy_from_slice(&le);
    Some(i128::from_le_bytes(wide))
}

/// The value of `scalar(dtype, bytes)`.
pub(crate) fn scalar<'t>(args: View<'t>) -> Option<Plain<'t>> {
    let dtype = args.item(0)?.object()?;
    let (_, "dtype") = dtype.class_name()? else { return None };
    let code = dtype.args().item(0)?.as_str()?;
    let big = dtype.state().and_then(|state| state.item(1)).and_then(View::as_str) == Some(">");
    let bytes = bytes_of(args.item(1)?)?;
    let kind = code.trim_start_matches(['<', '>', '|', '=']).chars().next()?;
    let plain = match kind {
        'b' => Plain::Bool(bytes.first()? != &0),
        'i' | 'u' => {
            let value = integer(&bytes, big, kind == 'i')?;
            i64::try_from(value).map_or_else(|_| Plain::BigInt(value.into()), Plain::Int)
        }
        'f' => Plain::Float(float(&bytes, big)?),
        'c' => {
            let (re, im) = bytes.split_at_checked(bytes.len() / 2)?;
            Plain::Complex(float(re, big)?, float(im, big)?)
        }
        'U' => {
            let (chars, _) = bytes.as_chunks::<4>();
            let text: Option<String> = chars
                .iter()
                .map(|unit| {
                    char::from_u32(if big { u32::from_be_bytes(*unit) } else { u32::from_le_bytes(*unit) })
                })
                .collect();
            Plain::Text(text?.trim_end_matches('\0').to_owned())
        }
        'S' => {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            Plain::Bytes(Cow::Owned(bytes.get(..end)?.to_vec()))
        }
        _ => return None,
    };
    Some(plain)
}

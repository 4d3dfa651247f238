//! Wrapper types for Python's other numbers, and for UUIDs.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::kinds::{AsCall, calls};
use crate::{BigInt, Global, magic};

/// A Python complex. With any other serde format it is the pair of its parts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Complex {
    /// Real part.
    pub re: f64,
    /// Imaginary part.
    pub im: f64,
}

impl Serialize for Complex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Parts<'a>(&'a Complex);
        impl Serialize for Parts<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let parts = (self.0.re, self.0.im);
                if serializer.is_human_readable() {
                    parts.serialize(serializer)
                } else {
                    (Global::new("builtins:complex"), parts).serialize(serializer)
                }
            }
        }
        serializer.serialize_newtype_struct(magic::REDUCE, &Parts(self))
    }
}

/// A `decimal.Decimal`, by its text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Decimal(pub String);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsCall for Decimal {
    fn text(&self) -> String {
        self.0.clone()
    }

    fn pair<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Global::new("decimal:Decimal"), (&self.0,)).serialize(serializer)
    }
}

/// A `fractions.Fraction`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fraction {
    /// Numerator.
    pub num: BigInt,
    /// Denominator.
    pub den: BigInt,
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

impl AsCall for Fraction {
    fn text(&self) -> String {
        self.to_string()
    }

    fn pair<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Global::new("fractions:Fraction"), (&self.num, &self.den)).serialize(serializer)
    }
}

/// A `uuid.UUID`, by its 16 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl AsCall for Uuid {
    fn text(&self) -> String {
        self.to_string()
    }

    fn pair<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Global::new("uuid:UUID"), ((), crate::kinds::Raw(&self.0))).serialize(serializer)
    }
}

calls!(Decimal, Fraction, Uuid);

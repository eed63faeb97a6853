//! The owned tree of a packed value.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Decimal, Int};

/// The type of a packed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Python's `None`.
    None,
    /// `bytes`.
    Bytes,
    /// `bytearray`.
    Bytearray,
    /// `str`.
    Str,
    /// `int`.
    Int,
    /// `bool`.
    Bool,
    /// `float`.
    Float,
    /// `decimal.Decimal`.
    Decimal,
    /// `list`.
    List,
    /// `set`.
    Set,
    /// `tuple`.
    Tuple,
    /// `dict`.
    Dict,
}

/// A packable Python value.
///
/// Equality is that of the wire, not Python's: types are never mixed, floats are
/// equal when their bits are (a NaN equals itself, `0.0` is not `-0.0`), and the
/// order in a set or a dict counts.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Value {
    /// Python's `None`.
    #[default]
    None,
    /// `bytes`.
    Bytes(Vec<u8>),
    /// `bytearray`: bytes that cannot be a dict key.
    Bytearray(Vec<u8>),
    /// `str`.
    Str(String),
    /// `int`.
    Int(Int),
    /// `bool`.
    Bool(bool),
    /// `float`.
    Float(f64),
    /// `decimal.Decimal`.
    Decimal(Decimal),
    /// `list`.
    List(Vec<Value>),
    /// `set`, in the order decoded; packing sorts.
    Set(Vec<Value>),
    /// `tuple`.
    Tuple(Vec<Value>),
    /// `dict`, in the order decoded; packing sorts.
    Dict(Vec<(Value, Value)>),
}

impl Value {
    /// The type of the value.
    pub fn kind(&self) -> Kind {
        match self {
            Self::None => Kind::None,
            Self::Bytes(_) => Kind::Bytes,
            Self::Bytearray(_) => Kind::Bytearray,
            Self::Str(_) => Kind::Str,
            Self::Int(_) => Kind::Int,
            Self::Bool(_) => Kind::Bool,
            Self::Float(_) => Kind::Float,
            Self::Decimal(_) => Kind::Decimal,
            Self::List(_) => Kind::List,
            Self::Set(_) => Kind::Set,
            Self::Tuple(_) => Kind::Tuple,
            Self::Dict(_) => Kind::Dict,
        }
    }

    /// Whether this is `None`.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The bytes of a `bytes` or a `bytearray`.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) | Self::Bytearray(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a `str`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The integer of an `int`; a `bool` is none.
    pub fn as_int(&self) -> Option<&Int> {
        match self {
            Self::Int(int) => Some(int),
            _ => None,
        }
    }

    /// The integer of an `int`, if it fits.
    pub fn as_u64(&self) -> Option<u64> {
        u64::try_from(self.as_int()?).ok()
    }

    /// The integer of an `int`, if it fits.
    pub fn as_i64(&self) -> Option<i64> {
        i64::try_from(self.as_int()?).ok()
    }

    /// The truth value of a `bool`.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The number of a `float`.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(float) => Some(*float),
            _ => None,
        }
    }

    /// The number of a `Decimal`.
    pub fn as_decimal(&self) -> Option<&Decimal> {
        match self {
            Self::Decimal(decimal) => Some(decimal),
            _ => None,
        }
    }

    /// The items of a `list`, a `set` or a `tuple`.
    pub fn as_items(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) | Self::Set(items) | Self::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The keys and values of a `dict`.
    pub fn as_entries(&self) -> Option<&[(Value, Value)]> {
        match self {
            Self::Dict(entries) => Some(entries),
            _ => None,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Bytearray(a), Self::Bytearray(b)) => a == b,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Decimal(a), Self::Decimal(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Set(a), Self::Set(b)) => a == b,
            (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Dict(a), Self::Dict(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}

impl From<Decimal> for Value {
    fn from(decimal: Decimal) -> Self {
        Self::Decimal(decimal)
    }
}

impl From<Int> for Value {
    fn from(int: Int) -> Self {
        Self::Int(int)
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Value {
            fn from(n: $integer) -> Self {
                Self::Int(n.into())
            }
        }
    )*};
}

from_integers!(u32, i32, u64, i64, u128, i128);

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn floats_are_equal_when_their_bits_are() {
        assert_eq!(Value::from(f64::NAN), Value::from(f64::NAN));
        assert_ne!(Value::from(0.0), Value::from(-0.0));
        assert_ne!(Value::from(1.0), Value::from(1_u32));
    }

    #[test]
    fn accessors_answer_for_their_own_kind_only() {
        let int = Value::from(-5_i64);
        assert_eq!((int.as_i64(), int.as_u64()), (Some(-5), None));
        assert_eq!(Value::from(true).as_int(), None);
        assert_eq!(Value::from("a").as_bytes(), None);
        assert_eq!(Value::Bytearray(vec![1]).as_bytes(), Some(&[1][..]));
        assert_eq!(Value::Set(vec![int]).as_items().map(<[_]>::len), Some(1));
        assert!(Value::default().is_none());
    }
}

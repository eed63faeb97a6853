//! Which dict keys and set items Python takes for the same.
//!
//! Python compares numbers by value, whatever their types: `1`, `1.0`, `True` and
//! `Decimal(1)` are one key. [`Key`] is a form in which equal keys are identical
//! and which has an order, so that duplicates are found without comparing every
//! pair, which a hostile peer could make slow.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::decimal::{Number, significant_digits};
use super::natural::Natural;
use super::{Decimal, Value};

/// A key or item that Python cannot hash.
#[derive(Debug)]
pub(super) struct Unhashable;

/// One of the distinct keys among several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Distinct {
    /// Where it occurs first: Python keeps this key.
    pub(super) first: usize,
    /// Where it occurs last: Python keeps this value.
    pub(super) last: usize,
}

/// The distinct keys, in the order of their first occurrence.
pub(super) fn distinct<'v>(
    values: impl Iterator<Item = &'v Value>,
) -> Result<Vec<Distinct>, Unhashable> {
    let mut nans = 0;
    let mut seen = BTreeMap::new();
    let mut distinct = Vec::<Distinct>::with_capacity(values.size_hint().0);
    for (index, value) in values.enumerate() {
        let key = Key::of(value, &mut nans)?;
        let place = *seen.entry(key).or_insert(distinct.len());
        match distinct.get_mut(place) {
            Some(known) => known.last = index,
            None => distinct.push(Distinct {
                first: index,
                last: index,
            }),
        }
    }
    Ok(distinct)
}

/// A hashable value in a form where what Python takes for equal is identical.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'v> {
    None,
    Bytes(&'v [u8]),
    Str(&'v str),
    Tuple(Vec<Key<'v>>),
    /// An odd number, or zero, times two to the exponent: all integers, all
    /// floats, and every decimal that could equal one of them.
    Binary {
        negative: bool,
        odd: Natural,
        exponent: i64,
    },
    /// Any other decimal, its trailing zeros moved to the exponent.
    Decimal {
        negative: bool,
        digits: String,
        exponent: i64,
    },
    Infinite {
        negative: bool,
    },
    /// Numbered: a NaN equals no other.
    Nan(usize),
}

impl<'v> Key<'v> {
    fn of(value: &'v Value, nans: &mut usize) -> Result<Self, Unhashable> {
        Ok(match value {
            Value::None => Self::None,
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::Str(text) => Self::Str(text),
            Value::Bool(truth) => Self::integer(false, &[u8::from(*truth)]),
            Value::Int(int) => Self::integer(int.is_negative(), int.magnitude()),
            Value::Float(float) => Self::float(*float, nans),
            Value::Decimal(decimal) => return Self::decimal(decimal, nans),
            Value::Tuple(items) => {
                // With no room to spare: there can be many, each in the next.
                let mut keys = Vec::with_capacity(items.len());
                for item in items {
                    keys.push(Self::of(item, nans)?);
                }
                Self::Tuple(keys)
            }
            Value::Bytearray(_)
            | Value::List(_)
            | Value::Set(_)
            | Value::Dict(_) => {
                return Err(Unhashable);
            }
        })
    }

    fn integer(negative: bool, magnitude: &[u8]) -> Self {
        Self::binary(negative, Natural::from_be_bytes(magnitude), 0)
    }

    fn float(float: f64, nans: &mut usize) -> Self {
        let negative = float.is_sign_negative();
        if float.is_nan() {
            return Self::next_nan(nans);
        }
        if float.is_infinite() {
            return Self::Infinite { negative };
        }
        let bits = float.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        // The subnormal numbers share the exponent of the least normal ones.
        let (mantissa, scale) = match (bits >> 52) & 0x7ff {
            0 => (fraction, 1),
            scale => (fraction | (1 << 52), scale),
        };
        let mantissa = Natural::from_be_bytes(&mantissa.to_be_bytes());
        Self::binary(negative, mantissa, (scale as i64).saturating_sub(1075))
    }

    fn decimal(decimal: &'v Decimal, nans: &mut usize) -> Result<Self, Unhashable> {
        let number = decimal.number().map_err(|_| Unhashable)?;
        if number.is_signalling() {
            return Err(Unhashable);
        }
        Ok(match number {
            Number::Infinite { negative } => Self::Infinite { negative },
            Number::Nan { .. } => Self::next_nan(nans),
            Number::Finite {
                negative,
                mantissa,
                exponent,
            } => Self::finite(negative, mantissa, exponent),
        })
    }

    fn finite(negative: bool, mantissa: &str, exponent: i64) -> Self {
        let mut digits: String = significant_digits(mantissa).collect();
        let before = digits.len();
        digits.truncate(digits.trim_end_matches('0').len());
        let moved = before.saturating_sub(digits.len());
        let moved = i64::try_from(moved).unwrap_or(i64::MAX);
        let exponent = exponent.saturating_add(moved);
        match binary_of(&digits, exponent) {
            Some((natural, twos)) => Self::binary(negative, natural, twos),
            None => Self::Decimal {
                negative,
                digits,
                exponent,
            },
        }
    }

    fn binary(negative: bool, mut natural: Natural, exponent: i64) -> Self {
        let zero = natural.is_zero();
        let twos = i64::try_from(natural.take_twos()).unwrap_or(i64::MAX);
        Self::Binary {
            negative: negative && !zero,
            odd: natural,
            exponent: if zero {
                0
            } else {
                exponent.saturating_add(twos)
            },
        }
    }

    fn next_nan(nans: &mut usize) -> Self {
        *nans = nans.saturating_add(1);
        Self::Nan(*nans)
    }
}

/// More significant digits than any float has (767), with room for integers.
const MOST_DIGITS: usize = 2048;
/// More than the exponent of any float (308), with room for integers.
const GREATEST_EXPONENT: i64 = 400;
/// Five to this power is the greatest that 32 bits hold.
const FIVES_AT_ONCE: u32 = 13;

/// A decimal as a natural number times two to an exponent, if it is one.
///
/// Decimals of more than [`MOST_DIGITS`] digits, or above [`GREATEST_EXPONENT`],
/// count as none: converting those would take a peer few bytes to ask for and us
/// many to do. They still equal each other, only no integer of that size.
fn binary_of(digits: &str, exponent: i64) -> Option<(Natural, i64)> {
    if digits.len() > MOST_DIGITS || exponent > GREATEST_EXPONENT {
        return None;
    }
    let mut natural = Natural::default();
    for digit in digits.chars().filter_map(|c| c.to_digit(10)) {
        natural.multiply_add(10, digit);
    }
    if natural.is_zero() {
        return Some((natural, 0));
    }
    // Ten to n is five to n times two to n; the twos are the exponent's.
    let mut fives = exponent.unsigned_abs();
    while fives > 0 {
        let step = FIVES_AT_ONCE.min(u32::try_from(fives).unwrap_or(u32::MAX));
        let power = 5_u32.saturating_pow(step);
        if exponent > 0 {
            natural.multiply_add(power, 0);
        } else if natural.divide(power) != 0 {
            return None;
        }
        fives = fives.saturating_sub(u64::from(step));
    }
    Some((natural, exponent))
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::wire::packify::Int;

    fn decimal(text: &str) -> Value {
        Value::Decimal(text.parse().unwrap())
    }

    fn count(values: &[Value]) -> usize {
        distinct(values.iter()).unwrap().len()
    }

    #[test]
    fn numbers_of_one_value_are_one_key() {
        let mut ten_to_300 = Natural::from_be_bytes(&[1]);
        (0..300).for_each(|_| ten_to_300.multiply_add(10, 0));
        let sets: [&[Value]; 7] = [
            &[1_u32.into(), 1.0.into(), true.into(), decimal("1.00")],
            &[0_u32.into(), false.into(), (-0.0).into(), decimal("-0E+9")],
            &[(-0.5).into(), decimal("-0.50"), decimal("-5E-1")],
            &[
                1e15.into(),
                decimal("1E+15"),
                1_000_000_000_000_000_u64.into(),
            ],
            &[f64::INFINITY.into(), decimal("Infinity")],
            &[decimal("1E+900"), decimal("10E+899")],
            &[(1_u128 << 100).into(), 2_f64.powi(100).into()],
        ];
        for set in sets {
            assert_eq!(count(set), 1, "{set:?}");
        }
    }

    #[test]
    fn the_least_float_equals_its_decimal() {
        // 2^-1074 = 5^1074 / 10^1074.
        let mut power = Natural::from_be_bytes(&[1]);
        (0..1074).for_each(|_| power.multiply_add(5, 0));
        let mut digits = Vec::new();
        while !power.is_zero() {
            digits.insert(0, char::from_digit(power.divide(10), 10).unwrap());
        }
        let text: String = digits.into_iter().chain("E-1074".chars()).collect();
        assert_eq!(count(&[f64::from_bits(1).into(), decimal(&text)]), 1);
    }

    #[test]
    fn different_values_are_different_keys() {
        let values = [
            Value::None,
            0_u32.into(),
            "".into(),
            b"".into(),
            Value::Tuple(vec![]),
            0.1.into(),
            decimal("0.1"),
            (-1_i32).into(),
            1_u32.into(),
            f64::NAN.into(),
            f64::NAN.into(),
            decimal("NaN"),
            f64::NEG_INFINITY.into(),
            f64::INFINITY.into(),
            Int::from_be_bytes(false, &[1; 40]).into(),
            Int::from_be_bytes(true, &[1; 40]).into(),
        ];
        assert_eq!(count(&values), values.len());
    }

    #[test]
    fn the_first_key_and_the_last_place_are_known() {
        let tuple = |one: Value| Value::Tuple(vec![one, "x".into()]);
        let values = [tuple(1_u32.into()), "a".into(), tuple(true.into())];
        let expected = [
            Distinct { first: 0, last: 2 },
            Distinct { first: 1, last: 1 },
        ];
        assert_eq!(distinct(values.iter()).unwrap(), expected);
    }

    #[test]
    fn unhashable_values_are_no_keys() {
        for value in [
            Value::Bytearray(vec![]),
            Value::List(vec![]),
            Value::Set(vec![]),
            Value::Dict(vec![]),
            decimal("sNaN"),
        ] {
            let nested = Value::Tuple(vec![value]);
            assert!(distinct([&nested].into_iter()).is_err(), "{nested:?}");
        }
    }
}

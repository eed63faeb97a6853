//! Decimal numbers, kept as the text that Python would print.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// A number of Python's `decimal.Decimal`, kept as its text.
///
/// Any text that Python's `Decimal(text)` accepts can be parsed: white space
/// around it, underscores, the decimal digits of any script (Unicode 14, as in
/// Python 3.11), `inf` and `nan` in any case. The text kept is always the one of
/// `str(Decimal(text))`, so two decimals are equal when Python prints them alike:
/// `1.0` and `1.00` are not.
///
/// ```
/// use netaio_proto::wire::packify::Decimal;
///
/// let decimal: Decimal = " 1_500e3 ".parse()?;
/// assert_eq!(decimal.as_str(), "1.500E+6");
/// # Ok::<(), netaio_proto::wire::packify::ParseDecimalError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal(Box<str>);

/// The text is not a decimal number, or its exponent is out of Python's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid decimal number")]
#[non_exhaustive]
pub struct ParseDecimalError;

impl Decimal {
    /// The number as Python prints it: ASCII, never empty.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number in parts, for comparing it with others.
    pub(super) fn number(&self) -> Result<Number<'_>, ParseDecimalError> {
        Number::parse(&self.0)
    }
}

impl FromStr for Decimal {
    type Err = ParseDecimalError;

    fn from_str(text: &str) -> Result<Self, ParseDecimalError> {
        Ok(Self(Number::parse(text)?.to_text().into()))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The greatest exponent of a number in scientific form.
const GREATEST_EXPONENT: i64 = 999_999_999_999_999_999;
/// The least exponent of the last digit.
const LEAST_EXPONENT: i64 = -1_999_999_999_999_999_997;

/// A parsed decimal that borrows its digits: parsing does not allocate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number<'a> {
    /// The digits of `mantissa`, as an integer, times ten to `exponent`.
    Finite {
        negative: bool,
        mantissa: &'a str,
        exponent: i64,
    },
    Infinite {
        negative: bool,
    },
    Nan {
        negative: bool,
        signalling: bool,
        payload: &'a str,
    },
}

impl<'a> Number<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, ParseDecimalError> {
        let text = text.trim_matches(is_space);
        let (negative, text) = split_sign(text);
        for name in ["infinity", "inf"] {
            if after_word(text, name).is_some_and(|rest| skip(rest).is_empty()) {
                return Ok(Self::Infinite { negative });
            }
        }
        for (name, signalling) in [("nan", false), ("snan", true)] {
            if let Some(payload) = after_word(text, name) {
                count_digits(payload)?;
                return Ok(Self::Nan {
                    negative,
                    signalling,
                    payload,
                });
            }
        }
        Self::parse_finite(negative, text)
    }

    fn parse_finite(
        negative: bool,
        text: &'a str,
    ) -> Result<Self, ParseDecimalError> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let fraction_digits = count_digits(fraction)?;
        if count_digits(whole)? == 0 && fraction_digits == 0 {
            return Err(ParseDecimalError);
        }
        let exponent = i64::try_from(fraction_digits)
            .ok()
            .and_then(|digits| exponent.checked_sub(digits))
            .filter(|exponent| in_range(mantissa, *exponent))
            .ok_or(ParseDecimalError)?;
        Ok(Self::Finite {
            negative,
            mantissa,
            exponent,
        })
    }

    /// A signalling NaN is the one decimal that Python refuses to hash.
    pub(super) fn is_signalling(&self) -> bool {
        matches!(
            self,
            Self::Nan {
                signalling: true,
                ..
            }
        )
    }

    /// The text that Python prints. At most some 30 bytes longer than the input.
    fn to_text(self) -> String {
        match self {
            Self::Infinite { negative } => format!("{}Infinity", sign(negative)),
            Self::Nan {
                negative,
                signalling,
                payload,
            } => {
                let name = if signalling { "sNaN" } else { "NaN" };
                let digits: String = significant_digits(payload).collect();
                format!("{}{name}{digits}", sign(negative))
            }
            Self::Finite {
                negative,
                mantissa,
                exponent,
            } => {
                let digits: String = significant_digits(mantissa).collect();
                let digits = if digits.is_empty() { "0" } else { &digits };
                let text = scientific_text(digits, exponent);
                format!("{}{text}", sign(negative))
            }
        }
    }
}

/// The decimal digits of a mantissa or a payload, in ASCII, without the zeros in
/// front: none at all for zero.
pub(super) fn significant_digits(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .filter_map(digit)
        .filter_map(|digit| char::from_digit(digit, 10))
        .skip_while(|digit| *digit == '0')
}

/// The scientific string of General Decimal Arithmetic: plain notation for small
/// negative exponents, else one digit before the point and an exponent.
fn scientific_text(digits: &str, exponent: i64) -> String {
    let adjusted = adjusted_exponent(digits.len(), exponent);
    if exponent == 0 {
        return digits.into();
    }
    if exponent < 0 && adjusted >= -6 {
        return plain_text(digits, exponent);
    }
    let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
    let point = if rest.is_empty() { "" } else { "." };
    format!("{first}{point}{rest}E{adjusted:+}")
}

fn plain_text(digits: &str, exponent: i64) -> String {
    let fraction = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
    match digits.len().checked_sub(fraction) {
        Some(point) if point > 0 => {
            let (whole, fraction) =
                digits.split_at_checked(point).unwrap_or_default();
            format!("{whole}.{fraction}")
        }
        // Not by a format width: that has a bound of its own.
        _ => {
            let zeros = fraction.saturating_sub(digits.len());
            let zeros = core::iter::repeat_n('0', zeros);
            "0.".chars().chain(zeros).chain(digits.chars()).collect()
        }
    }
}

/// The exponent of the first digit, given that of the last one.
fn adjusted_exponent(digits: usize, exponent: i64) -> i64 {
    let above = i64::try_from(digits.saturating_sub(1)).unwrap_or(i64::MAX);
    exponent.saturating_add(above)
}

fn in_range(mantissa: &str, exponent: i64) -> bool {
    let digits = significant_digits(mantissa).count();
    exponent >= LEAST_EXPONENT
        && adjusted_exponent(digits, exponent) <= GREATEST_EXPONENT
}

fn sign(negative: bool) -> &'static str {
    if negative { "-" } else { "" }
}

/// Python ignores underscores anywhere, not only between digits.
fn skip(text: &str) -> &str {
    text.trim_start_matches('_')
}

fn split_sign(text: &str) -> (bool, &str) {
    let text = skip(text);
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// What follows `word` at the start of the text; case does not matter.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    word.chars().try_fold(text, |text, letter| {
        let mut rest = skip(text).chars();
        let matches = rest.next()?.eq_ignore_ascii_case(&letter);
        matches.then_some(rest.as_str())
    })
}

/// The number of digits in a text that may hold digits and underscores only.
fn count_digits(text: &str) -> Result<usize, ParseDecimalError> {
    let mut digits = text.chars().filter(|c| *c != '_');
    digits.try_fold(0_usize, |count, c| {
        digit(c)
            .and_then(|_| count.checked_add(1))
            .ok_or(ParseDecimalError)
    })
}

/// Saturates: an exponent that large is out of range whatever the mantissa.
fn parse_exponent(text: &str) -> Result<i64, ParseDecimalError> {
    let (negative, text) = split_sign(text);
    if count_digits(text)? == 0 {
        return Err(ParseDecimalError);
    }
    let magnitude = text.chars().filter_map(digit).fold(0_i64, |n, digit| {
        n.saturating_mul(10).saturating_add(i64::from(digit))
    });
    Ok(if negative {
        magnitude.saturating_neg()
    } else {
        magnitude
    })
}

/// What Python's `str.isspace` calls white space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The value of a decimal digit of any script.
fn digit(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    let below = ZEROS.partition_point(|zero| *zero <= c).checked_sub(1)?;
    let value = u32::from(c).checked_sub(u32::from(*ZEROS.get(below)?))?;
    (value < 10).then_some(value)
}

/// The digit zero of every script but ASCII's; one to nine follow each.
#[rustfmt::skip]
const ZEROS: [char; 65] = [
    '\u{660}', '\u{6f0}', '\u{7c0}', '\u{966}', '\u{9e6}', '\u{a66}',
    '\u{ae6}', '\u{b66}', '\u{be6}', '\u{c66}', '\u{ce6}', '\u{d66}',
    '\u{de6}', '\u{e50}', '\u{ed0}', '\u{f20}', '\u{1040}', '\u{1090}',
    '\u{17e0}', '\u{1810}', '\u{1946}', '\u{19d0}', '\u{1a80}', '\u{1a90}',
    '\u{1b50}', '\u{1bb0}', '\u{1c40}', '\u{1c50}', '\u{a620}', '\u{a8d0}',
    '\u{a900}', '\u{a9d0}', '\u{a9f0}', '\u{aa50}', '\u{abf0}', '\u{ff10}',
    '\u{104a0}', '\u{10d30}', '\u{11066}', '\u{110f0}', '\u{11136}', '\u{111d0}',
    '\u{112f0}', '\u{11450}', '\u{114d0}', '\u{11650}', '\u{116c0}', '\u{11730}',
    '\u{118e0}', '\u{11950}', '\u{11c50}', '\u{11d50}', '\u{11da0}', '\u{16a60}',
    '\u{16ac0}', '\u{16b50}', '\u{1d7ce}', '\u{1d7d8}', '\u{1d7e2}', '\u{1d7ec}',
    '\u{1d7f6}', '\u{1e140}', '\u{1e2f0}', '\u{1e950}', '\u{1fbf0}',
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(input: &str) -> Option<String> {
        let decimal = input.parse::<Decimal>().ok()?;
        Some(decimal.as_str().into())
    }

    #[track_caller]
    fn assert_text(input: &str, expected: &str) {
        assert_eq!(text(input).as_deref(), Some(expected), "{input:?}");
    }

    #[test]
    fn notation_follows_the_exponent() {
        for (input, expected) in [
            ("1.0e-6", "0.0000010"),
            ("1e-6", "0.000001"),
            ("1e-7", "1E-7"),
            ("0.000000", "0.000000"),
            ("0.0000000", "0E-7"),
            ("00.00", "0.00"),
            ("-0e5", "-0E+5"),
            ("12.5e1", "125"),
            ("12.5e2", "1.25E+3"),
            ("1E+05", "1E+5"),
            ("1e-0", "1"),
            ("007", "7"),
            (".5", "0.5"),
            ("5.", "5"),
        ] {
            assert_text(input, expected);
        }
    }

    #[test]
    fn odd_spellings_are_read_as_python_does() {
        for (input, expected) in [
            ("_1_", "1"),
            ("_-_1__0", "-10"),
            ("1e_5", "1E+5"),
            ("\x1c1\x1f", "1"),
            ("\u{3000}1\u{2029}", "1"),
            ("\u{661}.\u{662}", "1.2"),
            ("1e\u{661}", "1E+1"),
            ("\u{1d7ff}", "9"),
            ("+inf", "Infinity"),
            ("inf_", "Infinity"),
            ("-iNfInItY", "-Infinity"),
            ("nan0012", "NaN12"),
            ("nan000", "NaN"),
            ("-sn_an5", "-sNaN5"),
        ] {
            assert_text(input, expected);
        }
    }

    #[test]
    fn exponents_end_where_python_ends_them() {
        for (input, expected) in [
            ("1e999999999999999999", "1E+999999999999999999"),
            ("10e999999999999999998", "1.0E+999999999999999999"),
            ("0.1e1000000000000000000", "1E+999999999999999999"),
            ("0.0e1000000000000000000", "0E+999999999999999999"),
            ("1e-1999999999999999997", "1E-1999999999999999997"),
        ] {
            assert_text(input, expected);
        }
        for input in [
            "1e1000000000000000000",
            "10e999999999999999999",
            "0e1000000000000000000",
            "0e-1999999999999999998",
            "1e99999999999999999999999",
            "1e-99999999999999999999999",
            "0.1e9223372036854775807",
        ] {
            assert_eq!(text(input), None, "{input}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for input in [
            "",
            " ",
            "_",
            ".",
            "+",
            "-",
            "e5",
            ".e5",
            "1e",
            "1e+-5",
            "1..2",
            "1.2.3",
            "1 2",
            "0x1",
            "1,5",
            "1\0",
            "1\u{200b}",
            "\u{2212}1",
            "\u{131}nf",
            "Infinit",
            "infinityx",
            "nanx",
            "nan-1",
            "++1",
            "\u{66a}",
        ] {
            assert_eq!(text(input), None, "{input:?}");
        }
    }

    #[test]
    fn a_great_many_digits_after_the_point_are_kept() {
        let text = format!("0.{}", "1".repeat(70_000));
        assert_eq!(text.parse::<Decimal>().unwrap().as_str(), text);
    }

    #[test]
    fn the_table_of_digits_is_sorted() {
        assert!(ZEROS.is_sorted());
        assert!(ZEROS.iter().all(|zero| digit(*zero) == Some(0)));
    }
}

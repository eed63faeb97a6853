//! The golden vectors: reading them, and the notation in them as Rust values.
//!
//! The vectors were made by running the Python packages. They lie in `vectors/`
//! beside the tests that check them; a test must check all of a file, and say so
//! with a count, so that none is left out in silence.

use std::fs;
use std::path::Path;

use netaio_proto::wire::packify::{Int, Value as Packable};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Reads `vectors/{name}.json`.
pub fn load(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let path = folder.join(format!("{name}.json"));
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cases of one section of a file. A section that is not there is a mistake
/// of the test, not an empty list.
pub fn cases<'v>(file: &'v Value, section: &str) -> &'v [Value] {
    let cases = file[section].as_array();
    cases.unwrap_or_else(|| panic!("no section {section}"))
}

/// The text of a field that must be there.
pub fn text<'v>(case: &'v Value, field: &str) -> &'v str {
    let text = case[field].as_str();
    text.unwrap_or_else(|| panic!("no text {field:?} in {case}"))
}

/// Bytes: hex, or `{"fill", "n"}` for one byte repeated.
pub fn bytes(notation: &Value) -> Vec<u8> {
    match notation.as_str() {
        Some(text) => hex(text),
        None => hex(text(notation, "fill")).repeat(number(notation, "n")),
    }
}

/// A packify value in its typed notation, `{"t": type, "v": value}`.
pub fn value(notation: &Value) -> Packable {
    let content = &notation["v"];
    match text(notation, "t") {
        "none" => Packable::None,
        "bool" => content.as_bool().expect("a truth value").into(),
        "int" => int(notation).into(),
        "float" => {
            let bits = u64::from_str_radix(text(notation, "bits"), 16);
            f64::from_bits(bits.expect("float bits")).into()
        }
        "decimal" => {
            let decimal = text(notation, "v").parse();
            Packable::Decimal(decimal.expect("a decimal number"))
        }
        "str" => string(notation).into(),
        "bytes" => Packable::Bytes(byte_string(notation)),
        "bytearray" => Packable::Bytearray(byte_string(notation)),
        "list" => Packable::List(items(notation)),
        "set" => Packable::Set(items(notation)),
        "tuple" => Packable::Tuple(items(notation)),
        "dict" => Packable::Dict(entries(content)),
        other => panic!("unknown type {other:?}"),
    }
}

/// Compares with hex, or with `{"len", "sha256", "head", "tail"}`.
#[track_caller]
pub fn assert_bytes(actual: &[u8], expected: &Value, id: &str) {
    if let Some(text) = expected.as_str() {
        assert_eq!(to_hex(actual), text, "{id}");
        return;
    }
    let (head, tail) = (bytes(&expected["head"]), bytes(&expected["tail"]));
    assert_eq!(actual.len(), number(expected, "len"), "{id}: length");
    assert!(actual.starts_with(&head), "{id}: start");
    assert!(actual.ends_with(&tail), "{id}: end");
    let hash = to_hex(&Sha256::digest(actual));
    assert_eq!(hash, text(expected, "sha256"), "{id}: hash");
}

/// Bytes as the vectors write them: lower-case hex.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(str::from_utf8);
    pairs
        .map(|pair| u8::from_str_radix(pair.expect("ASCII"), 16))
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{text:?} is not hex: {error}"))
}

fn number(notation: &Value, field: &str) -> usize {
    let number = notation[field].as_u64();
    let number =
        number.unwrap_or_else(|| panic!("no number {field:?} in {notation}"));
    usize::try_from(number).expect("a length")
}

fn string(notation: &Value) -> String {
    if let Some(utf8) = notation["utf8"].as_str() {
        return String::from_utf8(hex(utf8)).expect("UTF-8");
    }
    match notation["fill"].as_str() {
        Some(fill) => fill.repeat(number(notation, "n")),
        None => text(notation, "v").into(),
    }
}

fn byte_string(notation: &Value) -> Vec<u8> {
    match notation.get("fill") {
        Some(_) => bytes(notation),
        None => bytes(&notation["v"]),
    }
}

fn items(notation: &Value) -> Vec<Packable> {
    match notation.get("fill") {
        Some(item) => vec![value(item); number(notation, "n")],
        None => cases(notation, "v").iter().map(value).collect(),
    }
}

fn entries(content: &Value) -> Vec<(Packable, Packable)> {
    let pairs = content.as_array().expect("entries");
    let pair = |pair: &Value| (value(&pair[0]), value(&pair[1]));
    pairs.iter().map(pair).collect()
}

/// Decimal text, or 2 to `pow2` plus `add`, negated if `neg`.
fn int(notation: &Value) -> Int {
    let Some(power) = notation["pow2"].as_u64() else {
        let text = text(notation, "v");
        let digits = text.trim_start_matches('-');
        return Int::from_be_bytes(text.starts_with('-'), &big_endian(digits));
    };
    let power = usize::try_from(power).expect("an exponent");
    let mut bytes = vec![0; power / 8 + 1];
    bytes[0] = 1 << (power % 8);
    if let Some(addend) = notation["add"].as_i64() {
        add(&mut bytes, addend);
    }
    Int::from_be_bytes(notation["neg"].as_bool().unwrap_or(false), &bytes)
}

fn big_endian(digits: &str) -> Vec<u8> {
    let mut bytes = vec![0; digits.len()];
    for digit in digits.chars() {
        let mut carry = digit.to_digit(10).expect("a decimal digit");
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 10;
            *byte = carry as u8;
            carry >>= 8;
        }
    }
    bytes
}

fn add(bytes: &mut [u8], addend: i64) {
    let mut carry = addend;
    for byte in bytes.iter_mut().rev() {
        carry += i64::from(*byte);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0, "the sum is of another length");
}

//! packify against the golden vectors made with packify 0.3.1 and 0.4.0.

use netaio_proto::wire::packify::{Raw, Value, check, pack, unpack};
use netaio_tests::vectors::{assert_bytes, bytes, cases, load, text, to_hex, value};
use serde_json::Value as Json;

/// How many vectors the files hold; a number that changes must be noticed.
const GOOD: usize = 261;
const BAD: usize = 278;

#[test]
fn every_value_packs_as_in_python() {
    let file = load("packify");
    let vectors = cases(&file, "vectors");
    for case in vectors {
        let id = text(case, "id");
        let packed = pack(&value(&case["value"])).expect(id);
        assert_bytes(&packed, &case["packed"], id);
    }
    assert_eq!(vectors.len(), GOOD);
}

#[test]
fn every_packed_value_is_read_back() {
    let file = load("packify");
    let vectors = cases(&file, "vectors");
    for case in vectors {
        let id = text(case, "id");
        let packed = pack(&value(&case["value"])).expect(id);
        let expected = case.get("decodes_to").unwrap_or(&case["value"]);
        assert_reads(&packed, expected, id);
    }
    assert_eq!(vectors.len(), GOOD);
}

#[test]
fn odd_bytes_are_judged_as_in_python() {
    let file = load("packify_bad");
    let vectors = cases(&file, "vectors");
    for case in vectors {
        let (id, packed) = (text(case, "id"), bytes(&case["hex"]));
        match text(case, "verdict") {
            "reject" => assert_refuses(&packed, id),
            "accept" => assert_reads(&packed, &case["value"], id),
            "differs" => assert_follows_one(&packed, case, id),
            verdict => panic!("{id}: unknown verdict {verdict:?}"),
        }
    }
    assert_eq!(vectors.len(), BAD);
}

#[track_caller]
fn assert_reads(packed: &[u8], expected: &Json, id: &str) {
    let expected = value(expected);
    let decoded = unpack(packed).unwrap_or_else(|error| panic!("{id}: {error}"));
    assert_same(&decoded, &expected, id);
    assert_eq!(check(packed), Ok(()), "{id}");
    let raw = Raw::new(packed).unwrap_or_else(|error| panic!("{id}: {error}"));
    assert_eq!(raw.kind(), expected.kind(), "{id}");
    assert_eq!(raw.to_value(), decoded, "{id}");
}

#[track_caller]
fn assert_refuses(packed: &[u8], id: &str) {
    let error = unpack(packed).expect_err(id);
    assert_eq!(check(packed), Err(error), "{id}");
    assert_eq!(Raw::new(packed).map(|raw| raw.kind()), Err(error), "{id}");
}

/// Where the two versions of packify differ, either is right.
#[track_caller]
fn assert_follows_one(packed: &[u8], case: &Json, id: &str) {
    let columns = [&case["py031"], &case["py040"]];
    let Ok(decoded) = unpack(packed) else {
        let refused = columns.iter().any(|column| column.get("error").is_some());
        assert!(refused, "{id}: both versions accept this");
        return assert_refuses(packed, id);
    };
    let values = columns.iter().filter_map(|column| column.get("value"));
    let matches = values.filter(|expected| is_same(&decoded, &value(expected)));
    assert!(matches.count() > 0, "{id}: {decoded:?}");
    assert_eq!(check(packed), Ok(()), "{id}");
}

#[track_caller]
fn assert_same(actual: &Value, expected: &Value, id: &str) {
    assert!(
        is_same(actual, expected),
        "{id}: {actual:?}, not {expected:?}"
    );
}

/// Whether the values are the same but for the order in sets and dicts, which
/// packing does away with.
fn is_same(actual: &Value, expected: &Value) -> bool {
    let [actual, expected] =
        [actual, expected].map(|value| pack(value).map(|b| to_hex(&b)));
    actual.is_ok() && actual == expected
}

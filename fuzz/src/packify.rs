//! Packed values: checking, decoding and reading in place agree, and what was
//! decoded packs to a form that decodes to the same.

use netaio_proto::wire::packify::{
    DecodeLimits, Kind, Raw, UnpackError, Value, check, pack, unpack, unpack_with,
};

/// Packed bytes, and how deep they may be nested.
pub type Input<'a> = (u8, &'a [u8]);

/// Reads the bytes in all three ways.
pub fn run((depth, packed): Input<'_>) {
    let decoded = unpack(packed);
    assert_eq!(check(packed), decoded.as_ref().map(drop).map_err(|e| *e));
    let limits = DecodeLimits::default().with_max_depth(depth);
    let limited = unpack_with(packed, limits);
    let raw = Raw::new(packed);
    let value = match decoded {
        Ok(value) => value,
        Err(error) => {
            assert_eq!(raw.err(), Some(error));
            if depth <= 32 {
                assert!(limited.is_err());
            } else if !matches!(error, UnpackError::TooDeep { .. }) {
                assert_eq!(limited, Err(error));
            }
            return;
        }
    };
    match limited {
        Ok(same) => assert_eq!(same, value),
        Err(error) => {
            assert!(depth < 32 && matches!(error, UnpackError::TooDeep { .. }));
        }
    }
    let raw = raw.expect("it can be decoded");
    assert_eq!(raw.to_value(), value);
    assert_same(&raw, &value);
    let packed = pack(&value).expect("it was packed before");
    let again = unpack(&packed).expect("it has just been packed");
    assert_eq!(pack(&again).expect("as before"), packed);
}

/// Reading in place gives what is in the tree.
fn assert_same(raw: &Raw<'_>, value: &Value) {
    assert_eq!(raw.kind(), value.kind());
    assert_eq!(raw.as_bytes(), value.as_bytes());
    assert_eq!(raw.as_str(), value.as_str());
    assert_eq!(raw.as_u64(), value.as_u64());
    assert_eq!(raw.as_i64(), value.as_i64());
    assert_eq!(raw.as_bool(), value.as_bool());
    let bits = |float: Option<f64>| float.map(f64::to_bits);
    assert_eq!(bits(raw.as_f64()), bits(value.as_f64()));
    match value {
        Value::List(values) | Value::Tuple(values) => {
            let items = raw.items().expect("items");
            assert_eq!(items.len(), values.len());
            for (item, value) in items.zip(values) {
                assert_same(&item, value);
            }
        }
        // What is there more than once, the tree has once.
        Value::Set(values) => {
            let items = raw.items().expect("items");
            assert!(items.len() >= values.len());
            assert!(values.is_empty() == (items.len() == 0));
        }
        Value::Dict(values) => {
            let entries = raw.entries().expect("entries");
            assert!(entries.len() >= values.len());
            if entries.len() == values.len() {
                for ((key, item), (known, value)) in entries.zip(values) {
                    assert_same(&key, known);
                    assert_same(&item, value);
                }
            }
        }
        _ => assert!(!matches!(
            raw.kind(),
            Kind::List | Kind::Tuple | Kind::Set | Kind::Dict
        )),
    }
}

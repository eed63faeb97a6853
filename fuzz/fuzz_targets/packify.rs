//! Packed values: checking and decoding agree, and what was decoded packs to a
//! form that decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netaio_proto::wire::packify::{check, pack, unpack};
use netaio_proto::AuthFields;

fuzz_target!(|input: &[u8]| {
    let decoded = unpack(input);
    assert_eq!(check(input).is_ok(), decoded.is_ok());
    if let Ok(value) = decoded {
        let packed = pack(&value).expect("it was packed before");
        let again = unpack(&packed).expect("it has just been packed");
        assert_eq!(pack(&again).expect("as before"), packed);
    }
    if let Ok(mut fields) = AuthFields::from_packed(input) {
        if fields.set_bytes("rid", b"12345678").is_ok() {
            assert_eq!(fields.get_bytes("rid"), Some(&b"12345678"[..]));
            assert!(check(fields.packed()).is_ok());
            assert!(fields.remove("rid"));
        }
    }
});

//! Every lock is opened by its witness, for its message and at its time.

use netaio_asymmetric::tapescript::lock::{HashLock, LockError};
use netaio_asymmetric::tapescript::{
    Certificate, Inputs, Machine, Opcode, Script, SigFields, SigFlags, SigningKey,
    lock, witness,
};
use netaio_proto::TooLong;

use crate::notation::{bytes, cases, file, hex};

const ALL: SigFlags = SigFlags::ALL_SIGNED;
const NOW: u64 = 1_700_000_000;
const FIELDS: SigFields<'_> =
    SigFields::of_message(b"\0\x03uricontent", &[9; 16], &[1, 2, 3, 4]);

fn opens_for(
    witness: &Script,
    lock: &Script,
    fields: SigFields<'_>,
    now: u64,
) -> bool {
    let inputs = Inputs {
        fields,
        timestamp: now,
        now,
    };
    Machine::new().open(witness, lock, &inputs).is_ok()
}

fn opens(witness: &Script, lock: &Script) -> bool {
    opens_at(witness, lock, NOW)
}

/// Whether it opens the lock then, and only for what was signed.
fn opens_at(witness: &Script, lock: &Script, now: u64) -> bool {
    let opened = opens_for(witness, lock, FIELDS, now);
    for place in 0..3 {
        let mut fields = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| FIELDS.get(at));
        fields[place] = Some(b"something else");
        let other = SigFields::new(fields);
        assert!(!opens_for(witness, lock, other, now), "{place}");
    }
    opened
}

fn keys<const N: usize>() -> [SigningKey; N] {
    core::array::from_fn(|n| SigningKey::from_seed(&[n as u8 + 1; 32]))
}

fn signed(key: &SigningKey) -> Script {
    witness::single_signature(key, &FIELDS, ALL).expect("short")
}

#[test]
fn a_single_signature_opens_its_locks() {
    let [key, other] = keys();
    let plain = lock::single_signature(&key.public_key(), ALL);
    assert!(opens(&signed(&key), &plain));
    assert!(!opens(&signed(&other), &plain));

    let by_hash = lock::single_signature_by_hash(&key.public_key(), ALL);
    let with_key =
        |key| witness::single_signature_with_key(key, &FIELDS, ALL).expect("short");
    assert!(opens(&with_key(&key), &by_hash));
    assert!(!opens(&with_key(&other), &by_hash));
}

#[test]
fn flags_leave_out_what_the_lock_allows_and_nothing_else() {
    let [key] = keys();
    let body = SigFlags(1);
    let witness = witness::single_signature(&key, &FIELDS, body).expect("short");
    let allowing = lock::single_signature(&key.public_key(), SigFlags(1 | 4));
    let other = SigFields::of_message(b"other", &[9; 16], &[1, 2, 3, 4]);
    assert!(opens_for(&witness, &allowing, other, NOW));
    let strict = lock::single_signature(&key.public_key(), ALL);
    assert!(!opens(&witness, &strict));
}

#[test]
fn a_quorum_opens_a_multisig_lock_in_any_order() {
    let [a, b, c, other] = keys();
    let public_keys = [&a, &b, &c].map(SigningKey::public_key);
    let lock = lock::multisig(&public_keys, 2, ALL).expect("three keys");
    let signed = |keys: &[&SigningKey]| {
        let keys = keys.iter().copied();
        witness::multisig(keys, &FIELDS, ALL).expect("short")
    };
    for quorum in [[&a, &b], [&c, &a], [&b, &c], [&c, &b]] {
        assert!(opens(&signed(&quorum), &lock));
    }
    for none in [&[&a][..], &[&a, &a], &[&a, &other], &[&a, &b, &c]] {
        assert!(!opens(&signed(none), &lock));
    }
}

#[test]
fn a_quorum_must_be_possible() {
    let [a, b] = keys().map(|key| key.public_key());
    let error = lock::multisig(&[a, b, a], 3, ALL).unwrap_err();
    assert_eq!(error, LockError::BadQuorum { quorum: 3, keys: 2 });
    let error = lock::multisig(&[a; 256], 1, ALL).unwrap_err();
    assert_eq!(error, LockError::BadQuorum { quorum: 1, keys: 1 });
}

#[test]
fn a_taproot_lock_is_opened_by_its_key_and_by_its_script() {
    let [key, scripts, other] = keys();
    let script = lock::single_signature(&scripts.public_key(), ALL);
    let lock = lock::taproot(&key.public_key(), &script, ALL).expect("a key");
    let by_key = |key: &SigningKey| {
        witness::taproot_key(key, &script, &FIELDS, ALL).expect("short")
    };
    assert!(opens(&by_key(&key), &lock));
    assert!(!opens(&by_key(&other), &lock));
    assert!(!opens(&signed(&key), &lock));
    let by_script = |signer: &SigningKey, script: &Script| {
        let shown = witness::taproot_script(&key.public_key(), script);
        signed(signer).then(&shown)
    };
    assert!(opens(&by_script(&scripts, &script), &lock));
    assert!(!opens(&by_script(&other, &script), &lock));
    let another = lock::single_signature(&other.public_key(), ALL);
    assert!(!opens(&by_script(&other, &another), &lock));
    let error = lock::taproot(&[0xff; 32], &script, ALL).unwrap_err();
    assert_eq!(error, LockError::BadPublicKey);
}

#[test]
fn a_key_may_have_to_wait_for_a_time() {
    let [key] = keys();
    let lock = lock::not_before(NOW, &key.public_key(), ALL);
    assert!(opens_at(&signed(&key), &lock, NOW));
    assert!(!opens_at(&signed(&key), &lock, NOW - 1));
    let file = file();
    let mut auth = cases(&file, "auth", 119).iter();
    let python = auth
        .find(|case| case["id"] == "ts082")
        .expect("a time lock");
    let key =
        hex("cd7283753def1273bd68d4595088007f3fd3ebf40c9148c6674e8b547069e9b4");
    let key = key.try_into().expect("a key");
    let made = lock::not_before(1_600_000_000, &key, ALL);
    assert_eq!(made.into_bytes(), bytes(python, "lock"));
}

#[test]
fn another_key_may_speak_within_the_time_of_its_certificate() {
    let [root, delegate, other] = keys();
    let lock = lock::delegate_key(&root.public_key(), ALL);
    let now = u32::try_from(NOW).expect("before 2106");
    let times = now - 10..now + 10;
    let certify = |root: &SigningKey| {
        Certificate::sign(root, delegate.public_key(), times.clone(), false)
    };
    let witness = |key: &SigningKey, certificate: &Certificate| {
        witness::delegate_key(key, certificate, &FIELDS, ALL).expect("short")
    };
    let good = witness(&delegate, &certify(&root));
    for (now, within) in [(-10, false), (-9, true), (9, true), (10, false)] {
        let now = NOW.saturating_add_signed(now);
        assert_eq!(opens_at(&good, &lock, now), within, "{now}");
    }
    assert!(!opens(&witness(&other, &certify(&root)), &lock));
    assert!(!opens(&witness(&delegate, &certify(&other)), &lock));
    assert!(!opens(&signed(&root), &lock));
    // Times from 2038 on count as long past.
    let far = Certificate::sign(&root, delegate.public_key(), 0..1 << 31, false);
    assert!(!opens(&witness(&delegate, &far), &lock));
}

#[test]
fn a_script_opens_the_lock_that_knows_its_hash() {
    let [key, other] = keys();
    let script = lock::single_signature(&key.public_key(), ALL);
    let lock = lock::script_hash(&script);
    let witness = |script: &Script| signed(&key).then(&witness::script(script));
    assert!(opens(&witness(&script), &lock));
    let another = lock::single_signature(&other.public_key(), ALL);
    assert!(!opens(&witness(&another), &lock));
}

#[test]
fn a_secret_opens_a_hash_lock_and_later_another_key_does() {
    let [receiver, refund] = keys();
    let who = HashLock {
        // Of the bytes `secret`.
        digest: hex(
            "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
        )
        .try_into()
        .expect("a digest"),
        receiver: receiver.public_key(),
        refund: refund.public_key(),
        refund_from: NOW,
    };
    let lock = lock::hash_lock(&who, ALL);
    let witness = |key, secret: &[u8]| {
        witness::hash_lock(key, secret, &FIELDS, ALL).expect("short")
    };
    let early = NOW - 1;
    assert!(opens_at(&witness(&receiver, b"secret"), &lock, early));
    assert!(opens_at(&witness(&receiver, b"secret"), &lock, NOW));
    assert!(!opens_at(&witness(&receiver, b"guess"), &lock, NOW));
    assert!(!opens_at(&witness(&refund, b"guess"), &lock, early));
    assert!(opens_at(&witness(&refund, b"\0"), &lock, NOW));

    // What Python's tool makes of these.
    let [digest, receiver, refund] = ["03", "01", "02"].map(|byte| byte.repeat(32));
    let python = format!(
        "1e0320{digest}212c00220320{receiver}\
         002903046553998026\
         0320{refund}2300"
    );
    let plain = HashLock {
        digest: [3; 32],
        receiver: [1; 32],
        refund: [2; 32],
        refund_from: 0x6553_9980,
    };
    assert_eq!(lock::hash_lock(&plain, ALL).into_bytes(), hex(&python));
}

#[test]
fn more_than_an_item_holds_is_not_signed() {
    let [key] = keys();
    let body = [7; 1005];
    let fields = SigFields::of_message(&body, &[9; 16], &[1; 4]);
    let too_long = TooLong {
        length: 1025,
        limit: witness::MAX_SIGNED,
    };
    let sign = |flags| witness::single_signature(&key, &fields, flags);
    assert_eq!(sign(ALL), Err(too_long));
    assert!(sign(SigFlags(4)).is_ok());
}

#[test]
fn numbers_and_items_are_pushed_as_pythons_compiler_does() {
    let number = |number| Script::new().push_number(number).into_bytes();
    for (n, code) in [
        (0, &[2, 0][..]),
        (41, &[2, 41]),
        (127, &[2, 127]),
        (128, &[3, 2, 0, 128]),
        (255, &[3, 2, 0, 255]),
        (1_600_000_000, &[3, 4, 0x5f, 0x5e, 0x10, 0]),
        (3_000_000_000, &[3, 5, 0, 0xb2, 0xd0, 0x5e, 0]),
    ] {
        assert_eq!(number(n), code, "{n}");
    }
    let largest = number(u64::MAX);
    assert_eq!(largest, [&[3, 9, 0][..], &[0xff; 8]].concat());
    let start = |length| {
        let pushed = Script::new().push(&vec![7; length]).into_bytes();
        pushed[..pushed.len() - length].to_vec()
    };
    assert_eq!(start(1), [Opcode::Push0.code()]);
    assert_eq!(start(0), [Opcode::Push1.code(), 0]);
    assert_eq!(start(255), [Opcode::Push1.code(), 255]);
    assert_eq!(start(256), [Opcode::Push2.code(), 1, 0]);
}

//! Witnesses made and checked a second, beside the signatures that are in them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ed25519_dalek::{Signer as _, SigningKey as BareKey};
use netaio_asymmetric::TapescriptAuthPlugin;
use netaio_asymmetric::tapescript::{SigFlags, SigningKey, lock, witness};
use netaio_proto::{
    AuthFields, AuthPlugin as _, Context, Envelope, MessageType, Random,
};

/// How long each measurement takes.
const SPAN: Duration = Duration::from_millis(300);
const SEED: [u8; 32] = [1; 32];
const ALL: SigFlags = SigFlags::ALL_SIGNED;

/// Prints a table: medians of so many rounds, in each of which all is measured.
pub(crate) fn run(rounds: usize) {
    let plugins = [single(), two_of_three(), taproot()];
    let names = [
        "bare Ed25519, 84 B",
        "single signature",
        "2 of 3",
        "taproot, key",
    ];
    let measure = |row: usize| match row.checked_sub(1) {
        None => bare(),
        Some(plugin) => with(&plugins[plugin]),
    };
    let rounds: Vec<[[f64; 2]; 4]> = (0..rounds.max(1))
        .map(|_| [0, 1, 2, 3].map(measure))
        .collect();
    println!("| a second | made | checked |");
    println!("|---|---|---|");
    for (row, name) in names.iter().enumerate() {
        let [made, checked] = [0, 1].map(|column| {
            median(rounds.iter().map(|round| round[row][column]).collect())
        });
        println!("| {name} | {made:.0} | {checked:.0} |");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rate(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < SPAN {
        work();
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

/// Of as many bytes as a body of 64 has with nonce and timestamp.
fn bare() -> [f64; 2] {
    let key = BareKey::from_bytes(&SEED);
    let message = [7; 84];
    let public_key = key.verifying_key();
    let signature = key.sign(&message);
    [
        rate(|| {
            black_box(key.sign(black_box(&message)));
        }),
        rate(|| {
            let verified = public_key.verify_strict(black_box(&message), &signature);
            verified.expect("a signature");
        }),
    ]
}

fn with(plugin: &TapescriptAuthPlugin) -> [f64; 2] {
    let mut random = Random::from_seed([2; 32]);
    let mut context = Context {
        unix_time: 1_800_000_000,
        random: &mut random,
        local_peer: None,
        peer: None,
    };
    let plain = Envelope {
        message_type: MessageType::OK,
        fields: AuthFields::new(),
        body: BytesMut::from(&[&[0, 0][..], &[7; 62]].concat()[..]),
    };
    let mut sealed = plain.clone();
    plugin.make(&mut sealed, &mut context).expect("it is short");
    [
        rate(|| {
            let mut message = plain.clone();
            plugin
                .make(&mut message, &mut context)
                .expect("it is short");
            black_box(message);
        }),
        rate(|| {
            let checked = plugin.check(black_box(&sealed), &mut context);
            checked.expect("its own witness");
        }),
    ]
}

fn key(seed: [u8; 32]) -> SigningKey {
    SigningKey::from_seed(&seed)
}

fn single() -> TapescriptAuthPlugin {
    let lock = lock::single_signature(&key(SEED).public_key(), ALL);
    TapescriptAuthPlugin::new(lock, key(SEED))
}

fn two_of_three() -> TapescriptAuthPlugin {
    let keys = [SEED, [2; 32], [3; 32]].map(|seed| key(seed).public_key());
    let lock = lock::multisig(&keys, 2, ALL).expect("three keys");
    let second = key([2; 32]);
    TapescriptAuthPlugin::new(lock, key(SEED)).witness(move |first, fields| {
        Ok(witness::multisig([first, &second], fields, ALL)?)
    })
}

fn taproot() -> TapescriptAuthPlugin {
    let script = lock::nobody();
    let lock = lock::taproot(&key(SEED).public_key(), &script, ALL);
    let lock = lock.expect("a valid key");
    TapescriptAuthPlugin::new(lock, key(SEED)).witness(move |key, fields| {
        Ok(witness::taproot_key(key, &script, fields, ALL)?)
    })
}

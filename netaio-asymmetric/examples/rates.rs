//! What the plugins cost: messages a second that are sealed and opened, beside a
//! bare box of another implementation, and hashes a second of proofs of work.
//! Everything is measured in turn in one run; figures of one run can be compared
//! with each other, and with nothing else.
//!
//! `cargo run --release -p netaio-asymmetric --example rates`

use std::hint::black_box;
use std::time::{Duration, Instant};

use crypto_box::SalsaBox;
use crypto_box::aead::AeadInPlace as _;
use netaio_asymmetric::{HashcashAuthPlugin, X25519CipherPlugin};
use netaio_proto::{
    AuthPlugin as _, CipherPlugin as _, Context, Message, MessageType, Peer, Random,
};

/// Rounds in which everything is measured once; the median counts.
const ROUNDS: usize = 5;
/// How long each measurement takes.
const SPAN: Duration = Duration::from_millis(200);
/// Leading zero bits of the proofs that are made.
const BITS: u32 = 14;

fn main() {
    println!("| a second | 64 B | 1 KiB | 60 KiB |");
    println!("|---|---|---|---|");
    for (name, measure) in [
        ("bare box, sealed and opened", bare as fn(usize) -> f64),
        ("the plugin, sealed and opened", plugin),
        ("agreement on a key and a bare box", bare_with_agreement),
        ("proofs of work checked", checked),
    ] {
        let [small, middle, large] =
            [64, 1024, 60 * 1024].map(|length| median(|| measure(length)));
        println!("| {name} | {small:.0} | {middle:.0} | {large:.0} |");
    }
    let hashes = median(hashes);
    println!("hashes a second while working for {BITS} bits: {hashes:.0}");
}

fn median(mut measure: impl FnMut() -> f64) -> f64 {
    let mut values: Vec<f64> = (0..ROUNDS).map(|_| measure()).collect();
    values.sort_by(f64::total_cmp);
    values[ROUNDS / 2]
}

/// How often `work` can be done in a second.
fn rate(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < SPAN {
        for _ in 0..16 {
            work();
        }
        count += 16;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

fn keys() -> (crypto_box::SecretKey, crypto_box::PublicKey) {
    let theirs = crypto_box::SecretKey::from([2; 32]).public_key();
    (crypto_box::SecretKey::from([1; 32]), theirs)
}

fn bare(length: usize) -> f64 {
    let (ours, theirs) = keys();
    let known = SalsaBox::new(&theirs, &ours);
    rate(|| seal_and_open(&known, length))
}

fn bare_with_agreement(length: usize) -> f64 {
    let (ours, theirs) = keys();
    rate(|| seal_and_open(&SalsaBox::new(&theirs, &ours), length))
}

fn seal_and_open(known: &SalsaBox, length: usize) {
    let mut text = vec![b'x'; length];
    let nonce = [3; 24].into();
    let tag = known.encrypt_in_place_detached(&nonce, b"", &mut text);
    let tag = tag.expect("short enough");
    known
        .decrypt_in_place_detached(&nonce, b"", &mut text, &tag)
        .expect("a box");
    black_box(text);
}

fn plugin(length: usize) -> f64 {
    let [ours, theirs] = [1, 2].map(|seed| X25519CipherPlugin::new(&[seed; 32]));
    let (us, them) = (ours.peer("us"), theirs.peer("them"));
    let mut random = Random::from_seed([3; 32]);
    let message = message(length);
    rate(|| {
        let mut envelope = message.clone().into_envelope();
        ours.encrypt(&mut envelope, &mut context(&mut random, Some(&them)))
            .expect("a known peer");
        theirs
            .decrypt(&mut envelope, &mut context(&mut random, Some(&us)))
            .expect("a box");
        black_box(envelope);
    })
}

fn checked(length: usize) -> f64 {
    let mut random = Random::from_seed([3; 32]);
    let maker = HashcashAuthPlugin::new(1);
    let mut envelope = message(length).into_envelope();
    maker
        .make(&mut envelope, &mut context(&mut random, None))
        .expect("it is little work");
    // One that demands more refuses it after the same hash.
    let checker = HashcashAuthPlugin::new(200);
    rate(|| {
        let mut context = context(&mut random, None);
        black_box(checker.check(&envelope, &mut context).is_err());
    })
}

/// Hashes a second of whoever makes proofs: their numbers tell how many it took.
fn hashes() -> f64 {
    let plugin = HashcashAuthPlugin::new(BITS);
    let mut random = Random::from_seed([3; 32]);
    let message = message(64);
    let (start, mut attempts) = (Instant::now(), 0);
    while start.elapsed() < SPAN {
        let mut envelope = message.clone().into_envelope();
        plugin
            .make(&mut envelope, &mut context(&mut random, None))
            .expect("it is little work");
        let proof = envelope.fields.get_bytes("hashcash");
        let number = proof.and_then(|proof| proof.last_chunk());
        attempts += 1 + u64::from_be_bytes(*number.expect("a number"));
    }
    attempts as f64 / start.elapsed().as_secs_f64()
}

fn message(length: usize) -> Message {
    let content = vec![b'x'; length];
    Message::new(MessageType::REQUEST_URI, "echo", content).expect("it is short")
}

fn context<'a>(random: &'a mut Random, peer: Option<&'a Peer>) -> Context<'a> {
    Context {
        unix_time: 1_800_000_000,
        random,
        local_peer: None,
        peer,
    }
}

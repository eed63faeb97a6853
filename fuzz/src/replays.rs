//! What may come only once: messages behind a replay guard, and proofs of work.

use arbitrary::Arbitrary;
use netaio_asymmetric::HashcashAuthPlugin;
use netaio_proto::{
    AuthError, AuthPlugin, Context, Envelope, HmacAuthPlugin, Random, ReplayGuard,
};

use crate::hmac::envelope;

/// A message, as it came and as it is made; and how the clock goes on.
#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    unix_time: u32,
    /// Seconds until the message comes, and until it comes again.
    waits: [i8; 2],
    auth_length: u16,
    sections: &'a [u8],
}

/// Checks the message as it is; then makes a proof, and has it checked twice, and by
/// whoever made it.
pub fn run(input: Input<'_>) {
    let Some(envelope) = envelope(input.auth_length, input.sections) else {
        return;
    };
    let guard = || ReplayGuard::new(HmacAuthPlugin::new("secret"));
    once(&input, &envelope, &guard(), &guard(), true);
    let work = || HashcashAuthPlugin::new(4);
    once(&input, &envelope, &work(), &work(), false);
}

fn once(
    input: &Input<'_>,
    came: &Envelope,
    sender: &dyn AuthPlugin,
    receiver: &dyn AuthPlugin,
    remembers_its_own: bool,
) {
    let mut random = Random::from_seed([1; 32]);
    let start = u64::from(input.unix_time);
    let mut context = Context {
        unix_time: start,
        random: &mut random,
        local_peer: None,
        peer: None,
    };
    // It may be one that is in order.
    let _ = receiver.check(came, &mut context);

    let mut made = came.clone();
    if sender.make(&mut made, &mut context).is_err() {
        return;
    }
    if remembers_its_own {
        assert!(sender.check(&made, &mut context).is_err(), "sent back");
    }
    let [first, second] = input.waits.map(i64::from);
    context.unix_time = start.saturating_add_signed(first);
    let passes = receiver.check(&made, &mut context);
    context.unix_time = context.unix_time.saturating_add_signed(second);
    let again = receiver.check(&made, &mut context);
    if passes.is_ok() {
        assert!(again.is_err(), "it came twice");
    }
    if passes == Err(AuthError::Replayed) {
        assert!(again.is_err(), "it is still a replay");
    }
}

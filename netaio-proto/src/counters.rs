//! What a connection has done so far, in numbers.

use core::ops::AddAssign;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a connection (or an endpoint: the sum of its connections) has
        /// done so far. Numbers only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl AddAssign for Counters {
            fn add_assign(&mut self, other: Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
            }
        }
    };
}

counters! {
    /// Bytes received.
    bytes_in,
    /// Bytes handed to the socket.
    bytes_out,
    /// Well-formed frames received.
    frames_in,
    /// Frames made, whether written yet or not.
    frames_out,
    /// Requests of ours that were sent.
    requests,
    /// Replies that ended a request of ours.
    replies,
    /// Requests of ours that were not answered in time.
    timeouts,
    /// Replies to requests that had been given up, which were dropped.
    late_replies,
    /// Messages that a route led to a handler.
    dispatched,
    /// Messages that no route and no request took.
    unrouted,
    /// Frames that were malformed, damaged or undecryptable.
    rejected,
    /// Messages that did not pass an auth plugin.
    auth_failures,
    /// Replies to sources that may not be who they say they are which would
    /// have been longer than what came from there. They were not sent.
    withheld,
    /// Datagrams that were dropped unread: because too much was under way, or
    /// because this node had sent them itself.
    ignored,
    /// Times that the other end was asked for a sign of life.
    probes,
    /// Connections that were closed at once, because as many had come from their
    /// address as may.
    refused,
    /// Notifications that were dropped because their recipient took too little.
    lagged,
}

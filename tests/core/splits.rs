//! However a stream is cut, and however little of what is written is taken: the
//! same actions and the same bytes, frame by frame.

use std::hash::{DefaultHasher, Hasher as _};

use bytes::Buf as _;
use netaio_proto::{
    Action, AuthFields, Connection, EndpointConfig, Instant, Limits, MessageType,
    Outgoing, Random,
};

use crate::frames::{at, message};
use crate::server::{routes, server};

const FRAMES: usize = 10_000;
/// Bytes of the longest frame.
const LONGEST: usize = 64;

/// Frames of all types, for handlers and for nobody, with and without an id, and
/// some of them damaged.
fn random_frames(seed: u8, count: usize) -> Vec<Vec<u8>> {
    let mut dice = Random::from_seed([seed; 32]);
    let one = |_| {
        let kinds = MessageType::STANDARD;
        let kind = kinds[dice.below(kinds.len() as u64) as usize];
        let kind = [kind, MessageType::REQUEST_URI][dice.below(2) as usize];
        let uri = ["echo", "silent", "error", "nobody", ""][dice.below(5) as usize];
        let content = "x".repeat(dice.below(12) as usize);
        let mut fields = AuthFields::new();
        if dice.below(2) == 0 {
            let id: [u8; 8] = dice.bytes();
            fields.set_bytes(AuthFields::RID, &id).unwrap();
        }
        let whole = message(kind, uri, &content).with_fields(fields);
        let mut bytes = whole.encode().unwrap();
        if dice.below(8) == 0 {
            // Not the lengths: where frames end stays as it is.
            let places = [0, 5, 6, 7, 8, 9, bytes.len() - 1];
            let place = places[dice.below(places.len() as u64) as usize];
            bytes[place] ^= 1 + dice.below(255) as u8;
        }
        assert!(bytes.len() <= LONGEST);
        bytes
    };
    (0..count).map(one).collect()
}

/// What a server was made to do and to say, in order.
#[derive(Default)]
struct Digest {
    hash: DefaultHasher,
    actions: usize,
    dispatched: usize,
    rejected: usize,
}

impl Digest {
    /// Takes all actions there are, and answers them.
    fn take(&mut self, server: &mut Connection, now: Instant) {
        while let Some(action) = server.poll_action() {
            self.actions += 1;
            match action {
                Action::Dispatch {
                    handler,
                    message,
                    reply,
                    ..
                } => {
                    self.dispatched += 1;
                    self.hash.write_u64(handler.0);
                    self.hash.write(message.body());
                    self.hash.write(message.fields().packed());
                    let answer = message.respond(message.content()).unwrap();
                    if let Some(token) = reply {
                        server.reply(now, token, answer).unwrap();
                    }
                }
                Action::Rejected { error, .. } => {
                    self.rejected += 1;
                    self.hash.write(error.to_string().as_bytes());
                }
                other => self.hash.write(format!("{other:?}").as_bytes()),
            }
        }
    }

    /// Notes all that waits to be written.
    fn written(&mut self, server: &mut Connection) {
        let outgoing = server.outgoing();
        while outgoing.has_remaining() {
            let count = outgoing.chunk().len();
            self.hash.write(outgoing.chunk());
            outgoing.advance(count);
        }
    }
}

/// A server that puts up with anything.
fn patient_server() -> Connection {
    let limits = Limits {
        max_errors_per_minute: u32::MAX,
        outgoing_high_water: 2_000,
        ..Limits::default()
    };
    let config = EndpointConfig {
        limits,
        ..EndpointConfig::default()
    };
    server(config, routes())
}

/// What becomes of frames that come in two parts, cut at this place or at their
/// end.
fn cut_at(frames: &[Vec<u8>], place: usize) -> Digest {
    let mut server = patient_server();
    let mut digest = Digest::default();
    for frame in frames {
        let (one, two) = frame.split_at(place.min(frame.len()));
        for part in [one, two] {
            server.handle_input(at(0), part);
            digest.take(&mut server, at(0));
            digest.written(&mut server);
        }
    }
    digest
}

#[test]
fn r20_a_frame_is_the_same_wherever_it_is_cut() {
    let frames = random_frames(1, FRAMES);
    let whole = cut_at(&frames, 0);
    assert!(whole.dispatched > FRAMES / 4, "{}", whole.dispatched);
    assert!(whole.rejected > FRAMES / 20, "{}", whole.rejected);
    assert!(whole.actions < FRAMES, "the others are answered or dropped");
    let longest = frames.iter().map(Vec::len).max().unwrap();
    for place in 1..longest {
        let cut = cut_at(&frames, place);
        assert_eq!(cut.hash.finish(), whole.hash.finish(), "cut at {place}");
    }
}

/// How much is written at a time.
#[derive(Clone, Copy, Debug)]
enum Writes {
    /// All that there is.
    All,
    /// None and one byte in turns.
    NoneOrOne,
    /// The same, of what was taken out to be written elsewhere.
    TakenNoneOrOne,
}

/// What becomes of frames that come as fast as they are read, with writes like
/// these; and the bytes that were written.
fn written_by(frames: &[Vec<u8>], writes: Writes) -> (Digest, Vec<u8>) {
    let mut server = patient_server();
    let mut digest = Digest::default();
    let mut written = Vec::new();
    let mut taken = Outgoing::new();
    let mut frames = frames.iter();
    let mut held_up = 0;
    for turn in 0.. {
        if !server.wants_read() {
            held_up += 1;
        } else if let Some(frame) = frames.next() {
            server.handle_input(at(turn), frame);
        } else if server.queued() == 0 && taken.is_empty() {
            break;
        }
        digest.take(&mut server, at(turn));
        let most = match writes {
            Writes::All => usize::MAX,
            Writes::NoneOrOne | Writes::TakenNoneOrOne => turn as usize % 2,
        };
        if let Writes::TakenNoneOrOne = writes {
            server.take_outgoing(&mut taken);
            let count = taken.remaining().min(most);
            written.extend(taken.copy_to_bytes(count));
            server.handle_written(at(turn), count);
        } else {
            let outgoing = server.outgoing();
            let count = outgoing.remaining().min(most);
            written.extend(outgoing.copy_to_bytes(count));
        }
    }
    let narrow = !matches!(writes, Writes::All);
    assert_eq!(held_up > 0, narrow, "a full queue holds up reading");
    (digest, written)
}

#[test]
fn r20_writes_of_one_byte_or_none_write_the_same() {
    let frames = random_frames(2, 2_000);
    let (whole, bytes) = written_by(&frames, Writes::All);
    assert!(bytes.len() > 30_000);
    for writes in [Writes::NoneOrOne, Writes::TakenNoneOrOne] {
        let (digest, written) = written_by(&frames, writes);
        assert!(written == bytes, "{writes:?}");
        assert_eq!(digest.hash.finish(), whole.hash.finish(), "{writes:?}");
    }
}

//! The default peer plugin's way in: it takes exactly the packed pairs, and what
//! it takes it can pack again.

use bytes::Bytes;
use netaio_proto::wire::packify::{Value, pack, unpack};
use netaio_proto::{DefaultPeerPlugin, Peer, PeerPlugin as _};

/// The content of a peer message, or a peer's data.
pub type Input<'a> = &'a [u8];

/// Parses the bytes as either.
pub fn run(content: Input<'_>) {
    let plugin = DefaultPeerPlugin;
    let peer = plugin.unpack(content).ok();
    assert_eq!(peer, by_the_tree(content));
    if let Some(peer) = peer {
        let packed = plugin.pack(&peer).expect("it was packed before");
        assert_eq!(plugin.unpack(&packed), Ok(peer));
    }
    let data = plugin.parse_data(content);
    assert_eq!(data.as_ref().ok(), unpack(content).ok().as_ref());
    if let Ok(data) = data {
        let encoded = plugin.encode_data(&data).expect("as before");
        assert_eq!(encoded, pack(&data).expect("as before"));
    }
}

/// The same by decoding all of it: any container of two that are bytes or
/// nothing.
fn by_the_tree(content: &[u8]) -> Option<Peer> {
    let items = match unpack(content).ok()? {
        Value::Tuple(items) | Value::List(items) | Value::Set(items) => items,
        Value::Dict(entries) => entries.into_iter().map(|(key, _)| key).collect(),
        _ => return None,
    };
    let [id, data]: [Value; 2] = items.try_into().ok()?;
    Some(Peer {
        id: optional_bytes(id)?,
        data: optional_bytes(data)?,
    })
}

fn optional_bytes(value: Value) -> Option<Option<Bytes>> {
    match value {
        Value::None => Some(None),
        Value::Bytes(bytes) | Value::Bytearray(bytes) => Some(Some(bytes.into())),
        _ => None,
    }
}

//! Who somebody is: a peer's id and data, and how they are packed.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::error::PluginError;
use crate::wire::packify::{self, Kind, Raw, Value};

/// A peer's identity: an id, and data that a [`PeerPlugin`] can parse. Both are
/// optional on the wire; a peer without an id is nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// What tells this peer from others.
    pub id: Option<Bytes>,
    /// What it says of itself, packed.
    pub data: Option<Bytes>,
}

impl Peer {
    /// A peer with this id and packed data.
    pub fn new(id: impl Into<Bytes>, data: impl Into<Bytes>) -> Self {
        Self {
            id: Some(id.into()),
            data: Some(data.into()),
        }
    }
}

/// Packs and parses what peers say of themselves.
pub trait PeerPlugin: fmt::Debug + Send + Sync {
    /// Packs a peer's data.
    ///
    /// # Errors
    ///
    /// [`PluginError`] if the value cannot be packed.
    fn encode_data(&self, data: &Value) -> Result<Vec<u8>, PluginError>;

    /// Parses a peer's packed data.
    ///
    /// # Errors
    ///
    /// [`PluginError`] if the bytes are not packed data.
    fn parse_data(&self, data: &[u8]) -> Result<Value, PluginError>;

    /// Packs a peer, as the content of a peer message.
    ///
    /// # Errors
    ///
    /// [`PluginError`] if it is too long to be packed.
    fn pack(&self, peer: &Peer) -> Result<Vec<u8>, PluginError>;

    /// Parses the content of a peer message.
    ///
    /// # Errors
    ///
    /// [`PluginError`] if it does not describe a peer.
    fn unpack(&self, content: &[u8]) -> Result<Peer, PluginError>;
}

/// Python netaio's `DefaultPeerPlugin`: packify for everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultPeerPlugin;

impl PeerPlugin for DefaultPeerPlugin {
    fn encode_data(&self, data: &Value) -> Result<Vec<u8>, PluginError> {
        packify::pack(data).map_err(other)
    }

    fn parse_data(&self, data: &[u8]) -> Result<Value, PluginError> {
        packify::unpack(data).map_err(other)
    }

    fn pack(&self, peer: &Peer) -> Result<Vec<u8>, PluginError> {
        let part = |part: &Option<Bytes>| match part {
            Some(bytes) => Value::Bytes(bytes.to_vec()),
            None => Value::None,
        };
        let pair = Value::Tuple(alloc::vec![part(&peer.id), part(&peer.data)]);
        packify::pack(&pair).map_err(other)
    }

    /// Like Python, takes any container of exactly two; unlike Python, refuses
    /// an id or data that is neither bytes nor nothing.
    ///
    /// Reads in place: anybody may send this, so it takes memory for the id and
    /// the data alone.
    fn unpack(&self, content: &[u8]) -> Result<Peer, PluginError> {
        let packed = Raw::new(content).map_err(other)?;
        // What a set or a dict has twice counts once.
        let distinct = matches!(packed.kind(), Kind::Set | Kind::Dict);
        let items = packed.items().into_iter().flatten();
        let keys = packed.entries().into_iter().flatten().map(|(key, _)| key);
        let mut parts = SmallVec::<[Option<&[u8]>; 2]>::new();
        for item in items.chain(keys) {
            let part = optional_bytes(&item)?;
            if distinct && parts.contains(&part) {
                continue;
            }
            if parts.len() == parts.inline_size() {
                return Err(not_a_pair());
            }
            parts.push(part);
        }
        let [id, data] = parts.into_inner().map_err(|_| not_a_pair())?;
        Ok(Peer {
            id: id.map(Bytes::copy_from_slice),
            data: data.map(Bytes::copy_from_slice),
        })
    }
}

fn optional_bytes<'a>(value: &Raw<'a>) -> Result<Option<&'a [u8]>, PluginError> {
    match (value.kind(), value.as_bytes()) {
        (Kind::None, _) => Ok(None),
        (_, Some(bytes)) => Ok(Some(bytes)),
        _ => Err(other("a peer's id and data are bytes")),
    }
}

fn not_a_pair() -> PluginError {
    other("not a pair")
}

fn other(error: impl alloc::string::ToString) -> PluginError {
    PluginError::Other(error.to_string())
}

//! Who somebody is: a peer's id and data, and how they are packed.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::error::PluginError;
use crate::wire::packify::{self, Value};

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
    fn unpack(&self, content: &[u8]) -> Result<Peer, PluginError> {
        let items = match packify::unpack(content).map_err(other)? {
            Value::Tuple(items) | Value::List(items) | Value::Set(items) => items,
            Value::Dict(entries) => entries.into_iter().map(|e| e.0).collect(),
            _ => Vec::new(),
        };
        let [id, data]: [Value; 2] =
            items.try_into().map_err(|_| other("not a pair"))?;
        Ok(Peer {
            id: optional_bytes(id)?,
            data: optional_bytes(data)?,
        })
    }
}

fn optional_bytes(value: Value) -> Result<Option<Bytes>, PluginError> {
    match value {
        Value::None => Ok(None),
        Value::Bytes(bytes) | Value::Bytearray(bytes) => Ok(Some(bytes.into())),
        _ => Err(other("a peer's id and data are bytes")),
    }
}

fn other(error: impl alloc::string::ToString) -> PluginError {
    PluginError::Other(error.to_string())
}

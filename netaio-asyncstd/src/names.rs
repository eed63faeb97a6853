//! The names that are the same on every runtime.

pub use netaio_driver::{
    Answer, AuthError, AuthFailure, AuthFields, AuthPlugin, Both, ByteStream,
    CipherPlugin, CloseReason, Compatibility, ConnectError, ConnectionEvent,
    ConnectionEvents, Context, Correlation, Counters, DEFAULT_TIMEOUT,
    DatagramSocket, DefaultPeerPlugin, Envelope, EventStream, Hint, HmacAuthPlugin,
    Instant, IntoAnswer, IntoOutcome, IntoTimeoutOutcome, Keepalive, KeyExtractor,
    KnownPeer, LagPolicy, LayerKind, Layers, Limits, LossReason, Message,
    MessageType, MessageTypeError, MessageTypes, MulticastInterface, Notification,
    Outcome, OuterUse, Peer, PeerError, PeerEvent, PeerEvents, PeerManagement,
    PeerPlugin, PendingReply, PluginError, ProtocolError, Reconnecting, Refusals,
    ReplayGuard, ReplayMemory, RequestError, RequestFuture, RouteKey, Runtime,
    SendError, ServerName, ServerOptions, Sha256StreamCipherPlugin, StatusError,
    SubscribeError, SubscriptionEnd, TimeoutContext, TimeoutEvent, TimeoutKind,
    Timer, TooLong, WrapStream, wire,
};

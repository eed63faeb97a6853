//! Messages with witnesses, between our ends and Python's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::runtime::{
    DefaultPeerPlugin, Layers, MessageType, Peer, PeerManagement, PeerPlugin as _,
    PluginError, RequestError, SendError, TooLong, wire::packify::Value as Packable,
};
use netaio_asymmetric::TapescriptAuthPlugin;
use netaio_asymmetric::tapescript::{Script, SigFlags, SigningKey, lock, witness};
use netaio_tests::python::environment;
use netaio_tests::vectors::to_hex;
use serde_json::{Value, json};

use super::ends::{Connected, Served, at_once, eventually, soon};
use super::node_ends::Nodes;
use super::node_peers::{expect_found, listed};

const ALL: SigFlags = SigFlags::ALL_SIGNED;

/// The seeds of the parties.
const OURS: [u8; 32] = [1; 32];
const PYTHONS: [u8; 32] = [2; 32];
const THIRD: [u8; 32] = [3; 32];

fn key(seed: [u8; 32]) -> SigningKey {
    SigningKey::from_seed(&seed)
}

fn own_lock(seed: [u8; 32]) -> Script {
    lock::single_signature(&key(seed).public_key(), ALL)
}

/// Both parties, and a third: so many of them.
fn shared_lock(quorum: u8) -> Script {
    let keys = [OURS, PYTHONS, THIRD].map(|seed| key(seed).public_key());
    lock::multisig(&keys, quorum, ALL).expect("enough keys")
}

/// A way in which both ends sign and check.
struct Way {
    name: &'static str,
    /// The Python programs' options.
    args: Vec<String>,
    plugin: fn() -> TapescriptAuthPlugin,
}

impl Way {
    fn args(&self) -> Vec<&str> {
        self.args.iter().map(String::as_str).collect()
    }

    fn layers(&self) -> Layers {
        Layers::new().auth((self.plugin)())
    }
}

/// Options of a Python program that signs with this seed and has this lock.
fn python_args(seed: [u8; 32], lock: &Script) -> Vec<String> {
    let [seed, lock] = [&seed, lock.as_bytes()].map(to_hex);
    let args = ["--tapescript-seed", &seed, "--tapescript-lock", &lock];
    args.map(str::to_owned).to_vec()
}

fn ways() -> [Way; 4] {
    let with = |mut args: Vec<String>, option: &str, value: &[u8]| {
        args.extend([option.to_owned(), to_hex(value)]);
        args
    };
    [
        Way {
            name: "one key for both",
            args: python_args(OURS, &own_lock(OURS)),
            plugin: || TapescriptAuthPlugin::new(own_lock(OURS), key(OURS)),
        },
        Way {
            name: "one of three",
            args: python_args(PYTHONS, &shared_lock(1)),
            plugin: || TapescriptAuthPlugin::new(shared_lock(1), key(OURS)),
        },
        Way {
            name: "two of three",
            args: with(
                python_args(PYTHONS, &shared_lock(2)),
                "--tapescript-with",
                &THIRD,
            ),
            plugin: || {
                let third = key(THIRD);
                let plugin = TapescriptAuthPlugin::new(shared_lock(2), key(OURS));
                plugin.witness(move |ours, fields| {
                    Ok(witness::multisig([&third, ours], fields, ALL)?)
                })
            },
        },
        // The key is Python's, the script is for ours.
        Way {
            name: "taproot",
            args: with(
                python_args(PYTHONS, &taproot_lock()),
                "--tapescript-script",
                own_lock(OURS).as_bytes(),
            ),
            plugin: || {
                let plugin = TapescriptAuthPlugin::new(taproot_lock(), key(OURS));
                plugin.witness(|ours, fields| {
                    let signature = witness::single_signature(ours, fields, ALL)?;
                    let key = key(PYTHONS).public_key();
                    let script = witness::taproot_script(&key, &own_lock(OURS));
                    Ok(signature.then(&script))
                })
            },
        },
    ]
}

fn taproot_lock() -> Script {
    let key = key(PYTHONS).public_key();
    lock::taproot(&key, &own_lock(OURS), ALL).expect("a valid key")
}

/// What a Python end does in each way, with our end's answers.
fn operations() -> [Value; 4] {
    [
        json!({"op": "request", "uri": "echo", "content": "a", "timeout": 30,
               "expect": {"type": "RESPOND_URI", "content": "a"}}),
        json!({"op": "create", "uri": "k", "content": "1", "timeout": 30,
               "expect": {"type": "OK", "content": "stored"}}),
        json!({"op": "request", "uri": "k", "timeout": 30,
               "expect": {"type": "RESPOND_URI", "content": "1"}}),
        // As much as a signed message can carry.
        json!({"op": "request", "uri": "echo", "content_fill": ["61", 998],
               "timeout": 30,
               "expect": {"type": "RESPOND_URI", "content_len": 998}}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_server_opens_our_clients_messages_and_we_its() {
    let Some(python) = environment() else { return };
    for way in ways() {
        let ends =
            Connected::with(python, &way.args(), |c| c.layers(way.layers())).await;
        let client = &ends.client;
        let stored = at_once(client.create("k", "1")).await.expect(way.name);
        assert_eq!(stored.content(), b"stored", "{}", way.name);
        let echo = client.request("echo").content([7; 998]);
        let reply = at_once(echo).await.expect(way.name);
        assert_eq!(reply.content(), [7; 998], "{}", way.name);
        ends.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_opens_a_python_clients_messages_and_it_ours() {
    let Some(python) = environment() else { return };
    for way in ways() {
        let served = Served::with(Layers::new(), |s| s.layers(way.layers())).await;
        let [first, second, third, last] = operations();
        let ops = json!([{"op": "connect"}, first, second, third, last]);
        served.run(python, &way.args(), ops);
        served.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_open_each_others_messages() {
    let Some(python) = environment() else { return };
    for way in ways() {
        let layers = way.layers();
        let nodes =
            Nodes::with(python, &way.args(), Layers::new(), |n| n.layers(layers))
                .await;
        for operation in operations() {
            nodes.python_does(operation);
        }
        let to = nodes.python.address();
        let request = nodes.node.request("echo", to).content("b");
        let reply = at_once(request).await.expect(way.name);
        assert_eq!(reply.content(), b"b", "{}", way.name);
        nodes.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_another_key_is_told_so() {
    let Some(python) = environment() else { return };
    let args = python_args(PYTHONS, &own_lock(PYTHONS));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let plugin = || TapescriptAuthPlugin::new(own_lock(PYTHONS), key(OURS));
    let layers = || Layers::new().auth(plugin());
    let ends = Connected::with(python, &args, |c| c.layers(layers())).await;
    let error = at_once(ends.client.request("echo")).await.unwrap_err();
    let text = "tapescript auth failed".to_owned();
    let verified = false;
    assert_eq!(error, RequestError::Unauthorized { verified, text });
    assert_eq!(ends.link.close_reason(), None);

    let ours = TapescriptAuthPlugin::new(own_lock(OURS), key(OURS));
    let ours = Layers::new().auth(ours);
    let nodes = Nodes::with(python, &args, Layers::new(), |n| n.layers(ours)).await;
    nodes.python_does(json!({"op": "request", "uri": "echo", "timeout": 0.3,
                             "expect": {"error": "TimeoutError"}}));
    let counters = nodes.node.counters();
    assert_eq!((counters.auth_failures, counters.dispatched), (1, 0));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_signed_is_not_sent_and_says_why() {
    let Some(python) = environment() else { return };
    let [way, ..] = ways();
    let ends =
        Connected::with(python, &way.args(), |c| c.layers(way.layers())).await;
    let request = ends.client.request("echo").content([7; 999]);
    let error = at_once(request).await.unwrap_err();
    let length = 1025;
    let limit = 1024;
    let too_long = PluginError::TooLong(TooLong { length, limit });
    assert_eq!(error, RequestError::NotSent(SendError::Plugin(too_long)));
    ends.end().await;
}

/// Who our end is: the only one who has the key of the lock in its data.
fn our_peer() -> Peer {
    let lock = Packable::Bytes(own_lock(OURS).into_bytes());
    let data = Packable::Dict(vec![("lock".into(), lock)]);
    Peer::new("ours", DefaultPeerPlugin.encode_data(&data).expect("short"))
}

fn python_peer(lock: &Script) -> Peer {
    let lock = Packable::Bytes(lock.as_bytes().to_vec());
    let data = Packable::Dict(vec![("lock".into(), lock)]);
    let data = DefaultPeerPlugin.encode_data(&data);
    Peer::new("a python peer", data.expect("short"))
}

/// Options of a Python peer that lets in whoever is one of the three, and from
/// then on goes by the lock of each. It says that its own lock is this.
fn peer_args(announced: &Script) -> Vec<String> {
    let data = json!({"lock": format!("hex:{}", to_hex(announced.as_bytes()))});
    let mut args = python_args(PYTHONS, &shared_lock(1));
    let more = [
        "--tapescript-peer-lock",
        "--peer-id",
        "a python peer",
        "--manage-peers",
        "--peer-data-json",
    ];
    args.extend(more.map(str::to_owned));
    args.push(data.to_string());
    args
}

/// The same for our end, which signs with the third key when told to.
fn peer_layers(with_third: &Arc<AtomicBool>) -> Layers {
    let (third, with_third) = (key(THIRD), Arc::clone(with_third));
    let plugin = TapescriptAuthPlugin::new(shared_lock(1), key(OURS));
    let plugin = plugin.use_peer_lock().witness(move |ours, fields| {
        let third = with_third.load(Ordering::Relaxed).then_some(&third);
        Ok(witness::single_signature(
            third.unwrap_or(ours),
            fields,
            ALL,
        )?)
    });
    Layers::new().auth(plugin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_server_goes_by_our_clients_lock_once_it_knows_it() {
    let Some(python) = environment() else { return };
    let args = peer_args(&own_lock(PYTHONS));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let with_third = Arc::new(AtomicBool::new(true));
    let layers = peer_layers(&with_third);
    let ends = Connected::with(python, &args, |client| {
        client.layers(layers).local_peer(our_peer())
    })
    .await;
    // Anybody of the three, as long as nobody is known.
    let reply = at_once(ends.client.request("echo").content("1")).await;
    assert_eq!(reply.expect("a reply").content(), b"1");

    let mut events = ends.client.peer_events();
    let management = PeerManagement::new(PeerManagement::APP_ID);
    ends.client
        .manage_peers(management)
        .expect("has an identity");
    expect_found(&mut events, &python_peer(&own_lock(PYTHONS))).await;
    let known = || ends.server.command(&json!({"cmd": "peers"}));
    let ours = json!([listed(&our_peer())]);
    eventually("the server knows us", || known()["peers"] == ours).await;
    let error = at_once(ends.client.request("echo")).await.unwrap_err();
    assert!(
        matches!(error, RequestError::Unauthorized { .. }),
        "{error}"
    );

    with_third.store(false, Ordering::Relaxed);
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_node_goes_by_a_python_nodes_lock_once_it_knows_it() {
    let Some(python) = environment() else { return };
    // One that it can open, and one that it cannot.
    for opens in [true, false] {
        let announced = own_lock(if opens { PYTHONS } else { THIRD });
        let mut args = peer_args(&announced);
        args.extend(["--every", "600"].map(str::to_owned));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let layers = peer_layers(&Arc::default());
        let nodes = Nodes::with(python, &args, Layers::new(), |node| {
            node.layers(layers).local_peer(our_peer())
        })
        .await;
        let management = PeerManagement::new(PeerManagement::APP_ID);
        let never = std::time::Duration::from_secs(600);
        let management = management.every(never).timeout(never);
        nodes
            .node
            .manage_peers(management)
            .expect("has an identity");
        let ask = |expect: Value| {
            nodes.python_does(json!({
                "op": "request", "uri": "echo", "content": "a",
                "timeout": if expect.get("error").is_some() { 0.3 } else { 30.0 },
                "expect": expect,
            }));
        };
        ask(json!({"content": "a"}));
        let mut events = nodes.node.peer_events();
        let advertise = MessageType::ADVERTISE_PEER.name().expect("a name");
        nodes.python_does(json!({"op": "advertise_to", "type": advertise}));
        expect_found(&mut events, &python_peer(&announced)).await;
        if opens {
            ask(json!({"content": "a"}));
        } else {
            ask(json!({"error": "TimeoutError"}));
            assert_eq!(nodes.node.counters().auth_failures, 1);
        }
        soon(nodes.node.stop_peer_management()).await;
        nodes.end().await;
    }
}

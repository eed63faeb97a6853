"""What the three programs share: options to plugins, and JSON output."""

import asyncio
import json
import logging
import socket
import sys
import time

from netaio import (
    DefaultPeerPlugin,
    HMACAuthPlugin,
    MessageType,
    Peer,
    Sha256StreamCipherPlugin,
)

START = time.monotonic()


def emit(**obj):
    """One JSON line on stdout."""
    obj.setdefault('t', round(time.monotonic() - START, 3))
    sys.stdout.write(json.dumps(obj, default=repr) + '\n')
    sys.stdout.flush()


def to_bytes(text=None, hexa=None):
    if hexa is not None:
        return bytes.fromhex(hexa)
    return b'' if text is None else text.encode()


def arg_bytes(s):
    """An option value: hex:.. or plain text."""
    return bytes.fromhex(s[4:]) if s.startswith('hex:') else s.encode()


def field(op, name):
    """op['uri'] (text), op['uri_hex'] or op['uri_fill'] = ["61", 1000]."""
    if name + '_fill' in op:
        h, n = op[name + '_fill']
        return bytes.fromhex(h) * n
    return to_bytes(op.get(name), op.get(name + '_hex'))


def show_bytes(prefix, b):
    d = {}
    try:
        t = b.decode('utf-8')
        if t.isprintable():
            d[prefix] = t if len(t) <= 300 else t[:300]
    except UnicodeDecodeError:
        pass
    d[prefix + '_hex'] = b.hex() if len(b) <= 600 else b[:600].hex()
    d[prefix + '_len'] = len(b)
    return d


def show_message(m):
    if m is None:
        return {'type': None}
    f = m.auth_data.fields
    return {
        'type': m.header.message_type.name,
        **show_bytes('uri', m.body.uri),
        **show_bytes('content', m.body.content),
        'auth': {
            str(k): v.hex() if isinstance(v, (bytes, bytearray)) else repr(v)
            for k, v in f.items()
        }
        if isinstance(f, dict)
        else repr(f),
    }


class JsonLog(logging.Handler):
    def emit(self, record):
        text = record.getMessage()
        err = (
            repr(record.exc_info[1])
            if record.exc_info and record.exc_info[1] is not None
            else None
        )
        emit(
            event='log',
            level=record.levelname,
            text=text[:400],
            **({'exception': err[:300]} if err else {}),
        )


def make_logger(level):
    lg = logging.getLogger('interop')
    lg.handlers[:] = [JsonLog()]
    lg.propagate = False
    lg.setLevel(getattr(logging, level.upper()))
    return lg


def add_options(ap):
    ap.add_argument(
        '--hmac', metavar='SECRET', help='outer HMACAuthPlugin (text or hex:..)'
    )
    ap.add_argument('--hmac-field', default='hmac')
    ap.add_argument('--nonce-field', default='nonce')
    ap.add_argument('--ts-field', default='ts')
    ap.add_argument('--cipher', metavar='KEY', help='outer Sha256StreamCipherPlugin')
    ap.add_argument('--iv-field', default='iv')
    ap.add_argument('--encrypt-uri', type=int, default=1)
    ap.add_argument(
        '--inner-hmac',
        metavar='SECRET',
        help='HMACAuthPlugin of the protected handlers',
    )
    ap.add_argument('--inner-hmac-field', default='hmac2')
    ap.add_argument(
        '--inner-cipher',
        metavar='KEY',
        help='Sha256StreamCipherPlugin of the protected handlers',
    )
    ap.add_argument('--inner-iv-field', default='iv2')
    ap.add_argument('--inner-encrypt-uri', type=int, default=0)
    ap.add_argument(
        '--tapescript-seed', metavar='HEX', help='TapescriptAuthPlugin, 32-byte seed'
    )
    ap.add_argument(
        '--tapescript-lock',
        metavar='HEX',
        help='lock byte code; default: single-sig lock of the seed',
    )
    ap.add_argument(
        '--tapescript-with',
        metavar='HEX,..',
        help='seeds that sign as well, for a multisig lock',
    )
    ap.add_argument(
        '--tapescript-script',
        metavar='HEX',
        help='byte code that a taproot lock of the seed commits to',
    )
    ap.add_argument(
        '--tapescript-layer', choices=['outer', 'inner'], default='outer'
    )
    ap.add_argument(
        '--tapescript-peer-lock', action='store_true', help='use_peer_lock=True'
    )
    ap.add_argument(
        '--x25519-seed',
        metavar='HEX',
        help='X25519CipherPlugin, 32-byte seed (pubkey, vkey go into the peer data)',
    )
    ap.add_argument('--x25519-layer', choices=['outer', 'inner'], default='inner')
    ap.add_argument('--x25519-encrypt-uri', action='store_true')
    ap.add_argument('--peer-id', help='local peer id (text or hex:..)')
    ap.add_argument(
        '--peer-data-json',
        help='flat JSON object for the peer data; values text or hex:..',
    )
    ap.add_argument('--app-id', default='netaio')
    ap.add_argument('--manage-peers', action='store_true')
    ap.add_argument(
        '--auth-error',
        choices=['reply', 'drop'],
        default='reply',
        help='drop: an auth error handler that returns None',
    )
    ap.add_argument(
        '--log',
        default='warning',
        choices=['debug', 'info', 'warning', 'error', 'critical'],
    )
    ap.add_argument(
        '--exit-after',
        type=float,
        default=600,
        help='safety: leave after so many seconds',
    )


def witness_func(a):
    """Makes witnesses of several signatures, or of a taproot key."""
    import tapescript

    if a.tapescript_script:
        script = tapescript.Script.from_bytes(bytes.fromhex(a.tapescript_script))
        return lambda seed, fields: tapescript.make_taproot_witness_keyspend(
            seed, fields, script
        )
    others = [bytes.fromhex(s) for s in a.tapescript_with.split(',')]
    return lambda seed, fields: b''.join(
        tapescript.make_single_sig_witness(s, fields).bytes
        for s in [seed, *others]
    )


class Plugins:
    """outer_auth, outer_cipher, inner_auth, inner_cipher, local_peer."""

    def __init__(self, a):
        self.outer_auth = self.outer_cipher = self.inner_auth = self.inner_cipher = (
            None
        )
        if a.hmac is not None:
            self.outer_auth = HMACAuthPlugin(
                {
                    'secret': arg_bytes(a.hmac),
                    'hmac_field': a.hmac_field,
                    'nonce_field': a.nonce_field,
                    'ts_field': a.ts_field,
                }
            )
        if a.cipher is not None:
            self.outer_cipher = Sha256StreamCipherPlugin(
                {
                    'key': arg_bytes(a.cipher),
                    'iv_field': a.iv_field,
                    'encrypt_uri': bool(a.encrypt_uri),
                }
            )
        if a.inner_hmac is not None:
            self.inner_auth = HMACAuthPlugin(
                {'secret': arg_bytes(a.inner_hmac), 'hmac_field': a.inner_hmac_field}
            )
        if a.inner_cipher is not None:
            self.inner_cipher = Sha256StreamCipherPlugin(
                {
                    'key': arg_bytes(a.inner_cipher),
                    'iv_field': a.inner_iv_field,
                    'encrypt_uri': bool(a.inner_encrypt_uri),
                }
            )
        data = {}
        if a.tapescript_seed or a.x25519_seed:
            import tapescript
            from nacl.signing import SigningKey
            from netaio.asymmetric import TapescriptAuthPlugin, X25519CipherPlugin
        if a.tapescript_seed:
            seed = bytes.fromhex(a.tapescript_seed)
            lock = (
                tapescript.Script.from_bytes(bytes.fromhex(a.tapescript_lock))
                if a.tapescript_lock
                else tapescript.make_single_sig_lock(SigningKey(seed).verify_key)
            )
            config = {
                'seed': seed,
                'lock': lock,
                'use_peer_lock': a.tapescript_peer_lock,
            }
            if a.tapescript_with or a.tapescript_script:
                config['witness_func'] = witness_func(a)
            p = TapescriptAuthPlugin(config)
            data['lock'] = tapescript.make_single_sig_lock(
                SigningKey(seed).verify_key
            ).bytes
            if a.tapescript_layer == 'outer':
                self.outer_auth = p
            else:
                self.inner_auth = p
        if a.x25519_seed:
            p = X25519CipherPlugin(
                {
                    'seed': bytes.fromhex(a.x25519_seed),
                    'encrypt_uri': a.x25519_encrypt_uri,
                }
            )
            data['pubkey'], data['vkey'] = bytes(p.pubk), bytes(p.vkey)
            if a.x25519_layer == 'outer':
                self.outer_cipher = p
            else:
                self.inner_cipher = p
        if a.peer_data_json:
            for k, v in json.loads(a.peer_data_json).items():
                data[k] = (
                    arg_bytes(v)
                    if isinstance(v, str) and v.startswith('hex:')
                    else v
                )
        self.local_peer = None
        if a.peer_id is not None:
            self.local_peer = Peer(
                addrs=set(),
                id=arg_bytes(a.peer_id),
                data=DefaultPeerPlugin().encode_data(data),
            )

    @property
    def inner(self):
        return {'auth_plugin': self.inner_auth, 'cipher_plugin': self.inner_cipher}


def auth_error_handler(choice):
    """The library's default, or one that answers nothing; both report."""

    def handler(node, plugin, msg):
        emit(
            event='auth_error',
            plugin=type(plugin).__name__,
            type=msg.header.message_type.name if msg else None,
        )
        if (
            choice == 'drop'
            or msg is None
            or 'ERROR' in msg.header.message_type.name
        ):
            return None
        return plugin.error(
            message_class=node.message_class,
            message_type_class=node.message_type_class,
            header_class=node.header_class,
            auth_fields_class=node.auth_fields_class,
            body_class=node.body_class,
        )

    return handler


def free_port(kind=socket.SOCK_STREAM, host='127.0.0.1'):
    s = socket.socket(socket.AF_INET, kind)
    s.bind((host, 0))
    p = s.getsockname()[1]
    s.close()
    return p


async def stdin_lines():
    """Lines of stdin, without blocking the event loop."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**26)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while True:
        line = await reader.readline()
        if not line:
            return
        yield line.decode()


def match(expect, got):
    """What of expect is not in got: {} when all is as expected."""
    return {
        k: {'want': v, 'got': got.get(k)}
        for k, v in expect.items()
        if got.get(k) != v
    }


def check(op, result):
    """Add ok and, for an operation with "expect", pass and wrong to its result.
    Nested operations are checked too: an expectation that nobody looks at
    could never fail.  True if all is as expected."""
    result['ok'] = 'error' not in result
    if 'expect' not in op:
        return True
    wrong = match(op['expect'], result)
    result['pass'] = not wrong
    if wrong:
        result['wrong'] = wrong
    return not wrong


def peers_of(node):
    return sorted(
        [
            {
                'id': p.id.hex(),
                'data': p.data.hex() if p.data is not None else None,
                'addrs': len(p.addrs),
            }
            for p in node.peers.values()
        ],
        key=lambda x: x['id'],
    )

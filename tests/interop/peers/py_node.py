#!/usr/bin/env python3
"""A UDP node on Python netaio.  Serves the endpoints of README.md and
executes operations (JSON lines on stdin, or a script)."""

import argparse
import asyncio
import json
import signal
import socket
import sys
import time

from common import (
    MessageType as MT,
    Plugins,
    add_options,
    auth_error_handler,
    check,
    emit,
    field,
    free_port,
    make_logger,
    peers_of,
    show_message,
    stdin_lines,
    to_bytes,
)
from netaio import (
    Body,
    Message,
    UDPNode,
    make_error_msg,
    make_not_found_msg,
    make_not_permitted_msg,
    make_ok_msg,
    make_respond_uri_msg,
)


def message(mtype, uri, content=b''):
    return Message.prepare(Body.prepare(content, uri), mtype)


class Node:
    def __init__(self, a):
        self.a = a
        self.pl = pl = Plugins(a)
        kw = (
            {}
            if a.default_handler == 'not_found'
            else {'default_handler': self.no_handler}
        )
        self.node = node = UDPNode(
            port=a.port,
            interface=a.interface,
            multicast_group=a.group,
            local_peer=pl.local_peer,
            auth_plugin=pl.outer_auth,
            cipher_plugin=pl.outer_cipher,
            auth_error_handler=auth_error_handler(a.auth_error),
            logger=make_logger(a.log),
            ignore_own_ip=a.ignore_own_ip,
            **kw,
        )
        self.inbox = asyncio.Queue()
        self.store = {}
        self.failed = 0

        def on(key, handler, name, **plugins):
            def h(m, addr):
                if not a.quiet:
                    emit(
                        event='message',
                        handler=name,
                        peer=list(addr),
                        **show_message(m),
                    )
                return handler(m, addr)

            node.add_handler(key, h, **plugins)

        R = MT.REQUEST_URI
        on(
            (R, b'echo'),
            lambda m, ad: make_respond_uri_msg(m.body.content, m.body.uri),
            'echo',
        )
        on(
            (R, b'inner'),
            lambda m, ad: make_respond_uri_msg(
                b'inner ' + m.body.content, m.body.uri
            ),
            'inner',
            **pl.inner,
        )
        on((R, b'never'), lambda m, ad: None, 'never')
        on((R, b'slow'), self.slow, 'slow')
        on(
            (R, b'error'),
            lambda m, ad: make_error_msg(b'an error for you', m.body.uri),
            'error',
        )
        on(
            (R, b'error-default-uri'),
            lambda m, ad: make_error_msg(b'an error for nobody'),
            'error-default-uri',
        )
        on(
            (R, b'not-permitted'),
            lambda m, ad: make_not_permitted_msg(uri=m.body.uri),
            'not-permitted',
        )
        on(
            (R, b'size'),
            lambda m, ad: make_respond_uri_msg(
                b's' * int(m.body.content), m.body.uri
            ),
            'size',
        )
        on(
            (R, b'peers'),
            lambda m, ad: make_respond_uri_msg(
                json.dumps(peers_of(node)), m.body.uri
            ),
            'peers',
        )
        on((R, b'raise'), self.raises, 'raise')
        on(R, self.get, 'store')
        on(MT.CREATE_URI, self.create, 'create', **pl.inner)
        on(MT.UPDATE_URI, self.update, 'update', **pl.inner)
        on(MT.DELETE_URI, self.delete, 'delete', **pl.inner)
        on(MT.SUBSCRIBE_URI, self.sub, 'subscribe')
        on(MT.UNSUBSCRIBE_URI, self.unsub, 'unsubscribe')
        on(MT.PUBLISH_URI, self.pub, 'publish')
        node.add_handler(MT.NOTIFY_URI, lambda m, ad: self.inbox.put_nowait(m))

    def no_handler(self, m, addr):
        emit(event='unexpected', peer=list(addr), **show_message(m))

    def slow(self, m, addr):
        # UDP handlers cannot be coroutines: the answer is sent from a timer
        asyncio.get_running_loop().call_later(
            float(m.body.content.split(b';')[0] or b'1'),
            lambda: self.node.send(
                make_respond_uri_msg(b'slow ' + m.body.content, m.body.uri), addr
            ),
        )

    def raises(self, m, addr):
        raise RuntimeError('raised as asked')

    def get(self, m, addr):
        if m.body.uri not in self.store:
            return make_not_found_msg(uri=m.body.uri)
        return make_respond_uri_msg(self.store[m.body.uri], m.body.uri)

    def create(self, m, addr):
        if m.body.uri in self.store:
            return make_error_msg('exists', m.body.uri)
        self.store[m.body.uri] = m.body.content
        return make_ok_msg('stored', m.body.uri)

    def update(self, m, addr):
        if m.body.uri not in self.store:
            return make_not_found_msg(uri=m.body.uri)
        self.store[m.body.uri] = m.body.content
        return make_ok_msg('stored', m.body.uri)

    def delete(self, m, addr):
        if self.store.pop(m.body.uri, None) is None:
            return make_not_found_msg(uri=m.body.uri)
        return make_ok_msg('deleted', m.body.uri)

    def sub(self, m, addr):
        self.node.subscribe(m.body.uri, addr)
        return message(MT.CONFIRM_SUBSCRIBE, m.body.uri)

    def unsub(self, m, addr):
        self.node.unsubscribe(m.body.uri, addr)
        return message(MT.CONFIRM_UNSUBSCRIBE, m.body.uri)

    def pub(self, m, addr):
        n = len(self.node.subscriptions.get(m.body.uri, ()))
        self.node.notify(
            m.body.uri, message(MT.NOTIFY_URI, m.body.uri, m.body.content)
        )
        return make_ok_msg(b'notified %d' % n, m.body.uri)

    def addr(self, op):
        return (op.get('host', '127.0.0.1'), op['port'])

    async def confirm(self, op, send_type, confirm_type):
        uri = field(op, 'uri')
        got = asyncio.get_running_loop().create_future()

        @self.node.once((confirm_type, uri))
        def on_confirm(m, addr):
            if not got.done():
                got.set_result(m)

        self.node.send(message(send_type, uri), self.addr(op))
        try:
            return show_message(await asyncio.wait_for(got, op.get('timeout', 3)))
        finally:
            self.node.remove_ephemeral_handler((confirm_type, uri))

    async def do(self, op):
        k, n, t = op['op'], self.node, op.get('timeout', 3)
        inner = self.pl.inner if op.get('inner') else {}
        flags = {f: op[f] for f in ('use_auth', 'use_cipher') if f in op}
        if k == 'request':
            kw = {'message_type': MT[op['type']]} if 'type' in op else {}
            return show_message(
                await n.request(
                    field(op, 'uri'),
                    self.addr(op),
                    content=field(op, 'content'),
                    timeout=t,
                    **kw,
                    **inner,
                    **flags,
                )
            )
        if k in ('create', 'update'):
            return show_message(
                await getattr(n, k)(
                    field(op, 'uri'),
                    field(op, 'content'),
                    self.addr(op),
                    timeout=t,
                    **inner,
                    **flags,
                )
            )
        if k == 'delete':
            return show_message(
                await n.delete(
                    field(op, 'uri'), self.addr(op), timeout=t, **inner, **flags
                )
            )
        if k == 'send':
            n.send(
                message(MT[op['type']], field(op, 'uri'), field(op, 'content')),
                self.addr(op),
                **inner,
                **flags,
            )
            return {}
        if k == 'broadcast':
            n.broadcast(
                message(
                    MT[op.get('type', 'NOTIFY_URI')],
                    field(op, 'uri'),
                    field(op, 'content'),
                ),
                **inner,
                **flags,
            )
            return {'peers': len(n.peers)}
        if k == 'multicast':
            n.multicast(
                message(
                    MT[op.get('type', 'NOTIFY_URI')],
                    field(op, 'uri'),
                    field(op, 'content'),
                ),
                op.get('port'),
                **inner,
                **flags,
            )
            return {}
        if k == 'notify':
            n.notify(
                field(op, 'uri'),
                message(
                    MT[op.get('type', 'NOTIFY_URI')],
                    field(op, 'uri'),
                    field(op, 'content'),
                ),
                **inner,
                **flags,
            )
            return {'subscribers': len(n.subscriptions.get(field(op, 'uri'), ()))}
        if k == 'subscribe':
            return await self.confirm(op, MT.SUBSCRIBE_URI, MT.CONFIRM_SUBSCRIBE)
        if k == 'unsubscribe':
            return await self.confirm(op, MT.UNSUBSCRIBE_URI, MT.CONFIRM_UNSUBSCRIBE)
        if k == 'wait_notify':
            return show_message(await asyncio.wait_for(self.inbox.get(), t))
        if k == 'no_notify':
            try:
                return {
                    'unwanted': show_message(
                        await asyncio.wait_for(self.inbox.get(), t)
                    ),
                    'error': 'Unwanted',
                }
            except asyncio.TimeoutError:
                return {}
        if k == 'add_peer':
            data = (
                bytes.fromhex(op['data_hex'])
                if 'data_hex' in op
                else self.pl.local_peer.data
                if self.pl.local_peer
                else b''
            )
            return {
                'added': n.add_or_update_peer(
                    to_bytes(op.get('id'), op.get('id_hex')), data, self.addr(op)
                )
            }
        if k == 'remove_peer':
            n.remove_peer(self.addr(op), to_bytes(op.get('id'), op.get('id_hex')))
            return {}
        if k == 'peers':
            return {'peers': peers_of(n), 'count': len(n.peers)}
        if k == 'wait_peers':
            end = time.monotonic() + t
            while len(n.peers) != op['count'] and time.monotonic() < end:
                await asyncio.sleep(0.02)
            return {'peers': peers_of(n), 'count': len(n.peers)}
        if k == 'manage_peers':
            await n.manage_peers_automatically(
                op.get('every', 0.2),
                op.get('app_id', self.a.app_id).encode(),
                op.get('peer_timeout', 60),
                **inner,
            )
            return {}
        if k == 'stop_peers':
            await n.stop_peer_management(op.get('app_id', self.a.app_id).encode())
            return {}
        if k == 'advertise_to':
            # what the advertisement loop multicasts, but to one address
            from netaio import DefaultPeerPlugin

            n.send(
                message(
                    MT[op.get('type', 'ADVERTISE_PEER')],
                    op.get('app_id', self.a.app_id).encode(),
                    DefaultPeerPlugin().pack(self.pl.local_peer),
                ),
                self.addr(op),
                **inner,
            )
            return {}
        if k == 'set_port':
            n.port = op['port']  # where multicasts go when no port is given
            return {}
        if k == 'parallel':
            return {
                'results': await asyncio.gather(*(self.one(o) for o in op['ops']))
            }
        if k == 'sleep':
            await asyncio.sleep(op['seconds'])
            return {}
        if k == 'raw':
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(('127.0.0.1', 0))
            s.setblocking(False)
            s.sendto(bytes.fromhex(op['hex']), self.addr(op))
            try:
                b = await asyncio.wait_for(
                    asyncio.get_running_loop().sock_recv(s, 65536), t
                )
                return {'reply_hex': b.hex()}
            except asyncio.TimeoutError:
                return {'reply_hex': None}
            finally:
                s.close()
        if k == 'stop':
            self.stop.set()
            return {}
        raise ValueError(f'unknown op {k}')

    async def one(self, op):
        t0 = time.monotonic()
        try:
            res = await self.do(op)
        except Exception as e:
            res = {
                'error': 'TimeoutError'
                if isinstance(e, (TimeoutError, asyncio.TimeoutError))
                else type(e).__name__,
                'text': str(e)[:200],
            }
        res['ms'] = round((time.monotonic() - t0) * 1000)
        if not check(op, res):
            self.failed += 1
        return res

    async def step(self, i, op):
        emit(i=i, op=op['op'], **await self.one(op))

    async def commands(self):
        if self.a.script:
            ops = (
                json.load(open(self.a.script))
                if self.a.script != '-'
                else json.load(sys.stdin)
            )
            for i, op in enumerate(ops):
                await self.step(i, op)
            if not self.a.serve:
                self.stop.set()
        elif self.a.stdin:
            i = 0
            async for line in stdin_lines():
                line = line.strip()
                if not line:
                    continue
                ops = json.loads(line)
                for op in ops if isinstance(ops, list) else [ops]:
                    await self.step(i, op)
                    i += 1
            self.stop.set()

    async def run(self):
        self.stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda l, c: emit(
                event='exception',
                error=repr(c.get('exception') or c.get('message'))[:300],
            )
        )
        for s in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(s, self.stop.set)
        await self.node.start()
        emit(
            event='listening',
            host=self.a.interface,
            port=self.a.port,
            group=self.a.group,
        )
        if self.a.multicast_port:
            self.node.port = self.a.multicast_port
        if self.a.manage_peers:
            await self.node.manage_peers_automatically(
                self.a.every, self.a.app_id.encode(), self.a.peer_timeout
            )
        cmds = asyncio.create_task(self.commands())
        try:
            await asyncio.wait_for(self.stop.wait(), self.a.exit_after)
        except asyncio.TimeoutError:
            pass
        if cmds.done() and cmds.exception():
            emit(event='error', text=repr(cmds.exception()))
            self.failed += 1
        cmds.cancel()
        await self.node.stop()
        await asyncio.sleep(0.05)
        emit(event='end', failed=self.failed)
        return 1 if self.failed else 0


async def main(a):
    a.port = a.port or free_port(socket.SOCK_DGRAM)
    return await Node(a).run()


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('--interface', default='127.0.0.1')
    ap.add_argument('--port', type=int, default=0)
    ap.add_argument('--group', default='224.0.0.1')
    ap.add_argument(
        '--multicast-port',
        type=int,
        help='where own multicasts go (sets node.port after the start)',
    )
    ap.add_argument(
        '--every',
        type=float,
        default=0.2,
        help='seconds between advertisements (with --manage-peers)',
    )
    ap.add_argument('--peer-timeout', type=float, default=60)
    ap.add_argument(
        '--ignore-own-ip',
        action='store_true',
        help="the library's default; hides other nodes of the same address",
    )
    ap.add_argument(
        '--default-handler',
        choices=['none', 'not_found'],
        default='none',
        help="not_found: the library's default; two of them bounce without end",
    )
    ap.add_argument(
        '--script', help='JSON array of operations ("-": the whole of stdin)'
    )
    ap.add_argument('--serve', action='store_true', help='stay after the script')
    ap.add_argument(
        '--stdin',
        action='store_true',
        help='operations as JSON lines; end at the end of stdin',
    )
    ap.add_argument('--quiet', action='store_true')
    add_options(ap)
    raise SystemExit(asyncio.run(main(ap.parse_args())))

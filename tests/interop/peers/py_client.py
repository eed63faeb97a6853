#!/usr/bin/env python3
"""A TCP client on Python netaio: executes a JSON script of operations.
See README.md for the operations."""

import argparse
import asyncio
import json
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
    make_logger,
    peers_of,
    show_message,
    stdin_lines,
)
from netaio import Body, Message, TCPClient


class Runner:
    def __init__(self, a):
        self.a = a
        self.pl = Plugins(a)
        self.failed = 0
        self.inbox = asyncio.Queue()
        self.client = TCPClient(
            a.host,
            a.port,
            local_peer=self.pl.local_peer,
            auth_plugin=self.pl.outer_auth,
            cipher_plugin=self.pl.outer_cipher,
            auth_error_handler=auth_error_handler(a.auth_error),
            logger=make_logger(a.log),
        )
        for t in (MT.NOTIFY_URI, MT.PUBLISH_URI):
            self.client.add_handler(t, lambda m, w: self.inbox.put_nowait(m))
        # everything that no request is waiting for
        for t in (
            MT.OK,
            MT.RESPOND_URI,
            MT.ERROR,
            MT.AUTH_ERROR,
            MT.NOT_FOUND,
            MT.NOT_PERMITTED,
        ):
            self.client.add_handler(
                t, lambda m, w: emit(event='unexpected', **show_message(m))
            )

    def inner(self, op):
        return self.pl.inner if op.get('inner') else {}

    def flags(self, op):
        return {k: op[k] for k in ('use_auth', 'use_cipher') if k in op}

    async def confirm(self, op, send_type, confirm_type):
        uri = field(op, 'uri')
        got = asyncio.get_running_loop().create_future()

        @self.client.once((confirm_type, uri))
        def on_confirm(m, w):
            if not got.done():
                got.set_result(m)

        await self.client.send(Message.prepare(Body.prepare(b'', uri), send_type))
        try:
            return show_message(await asyncio.wait_for(got, op.get('timeout', 3)))
        finally:
            self.client.remove_ephemeral_handler((confirm_type, uri))

    async def do(self, op):
        k, c = op['op'], self.client
        t = op.get('timeout', 3)
        if k == 'connect':
            await c.connect()
            if op.get('loop', True):
                await c.start_receive_loop()
            return {}
        if k == 'loop_start':
            _, was = await c.start_receive_loop()
            return {'was_running': was}
        if k == 'loop_stop':
            return {'stopped': await c.stop_receive_loop()}
        if k == 'request':
            kw = {'message_type': MT[op['type']]} if 'type' in op else {}
            return show_message(
                await c.request(
                    field(op, 'uri'),
                    content=field(op, 'content'),
                    timeout=t,
                    **kw,
                    **self.inner(op),
                    **self.flags(op),
                )
            )
        if k in ('create', 'update'):
            return show_message(
                await getattr(c, k)(
                    field(op, 'uri'),
                    field(op, 'content'),
                    timeout=t,
                    **self.inner(op),
                    **self.flags(op),
                )
            )
        if k == 'delete':
            return show_message(
                await c.delete(
                    field(op, 'uri'), timeout=t, **self.inner(op), **self.flags(op)
                )
            )
        if k == 'send':
            await c.send(
                Message.prepare(
                    Body.prepare(field(op, 'content'), field(op, 'uri')),
                    MT[op['type']],
                ),
                **self.inner(op),
                **self.flags(op),
            )
            return {}
        if k == 'receive_once':
            return show_message(
                await asyncio.wait_for(
                    c.receive_once(**self.inner(op), **self.flags(op)), t
                )
            )
        if k == 'subscribe':
            return await self.confirm(op, MT.SUBSCRIBE_URI, MT.CONFIRM_SUBSCRIBE)
        if k == 'unsubscribe':
            return await self.confirm(op, MT.UNSUBSCRIBE_URI, MT.CONFIRM_UNSUBSCRIBE)
        if k == 'publish':
            return show_message(
                await c.request(
                    field(op, 'uri'),
                    content=field(op, 'content'),
                    timeout=t,
                    message_type=MT.PUBLISH_URI,
                    **self.inner(op),
                )
            )
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
        if k == 'parallel':
            t0 = time.monotonic()
            res = await asyncio.gather(*(self.one(o) for o in op['ops']))
            return {'results': res, 'seconds': round(time.monotonic() - t0, 2)}
        if k == 'repeat':
            for _ in range(op['n']):
                r = await self.one(op['do'])
                if not r.get('pass', r['ok']):
                    return r
            return {'n': op['n']}
        if k == 'sleep':
            await asyncio.sleep(op['seconds'])
            return {}
        if k == 'manage_peers':
            await c.manage_peers_automatically(
                app_id=op.get('app_id', self.a.app_id).encode()
            )
            return {}
        if k == 'stop_peers':
            await c.stop_peer_management(
                app_id=op.get('app_id', self.a.app_id).encode()
            )
            return {}
        if k == 'peers':
            return {'peers': peers_of(c), 'count': len(c.peers)}
        if k == 'close':
            await c.close()
            return {}
        if k == 'raw':
            return await self.raw(op, t)
        raise ValueError(f'unknown op {k}')

    async def raw(self, op, t):
        """Bytes over a connection of their own: what comes back, and whether
        the server closed."""
        r, w = await asyncio.open_connection(self.a.host, self.a.port)
        w.write(bytes.fromhex(op['hex']))
        await w.drain()
        if op.get('half_close'):
            w.write_eof()
        got, closed = b'', False
        end = time.monotonic() + t
        while time.monotonic() < end:
            try:
                b = await asyncio.wait_for(
                    r.read(65536), max(0.01, end - time.monotonic())
                )
            except asyncio.TimeoutError:
                break
            except ConnectionError:
                closed = True
                break
            if not b:
                closed = True
                break
            got += b
        w.close()
        return {
            'reply_hex': got.hex() if len(got) <= 2000 else got[:2000].hex(),
            'reply_len': len(got),
            'closed': closed,
        }

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
        except BaseException as e:
            if isinstance(
                e, (KeyboardInterrupt, SystemExit, asyncio.CancelledError)
            ):
                raise
            res = {'error': type(e).__name__, 'text': str(e)[:200]}
        res['ms'] = round((time.monotonic() - t0) * 1000)
        if not check(op, res):
            self.failed += 1
        return res

    async def step(self, i, op):
        emit(i=i, op=op['op'], **await self.one(op))

    async def run(self):
        if self.a.script:
            ops = (
                json.load(open(self.a.script))
                if self.a.script != '-'
                else json.load(sys.stdin)
            )
            for i, op in enumerate(ops):
                await self.step(i, op)
        elif self.a.ops:
            for i, op in enumerate(json.loads(self.a.ops)):
                await self.step(i, op)
        else:
            i = 0
            async for line in stdin_lines():
                line = line.strip()
                if not line:
                    continue
                ops = json.loads(line)
                for op in ops if isinstance(ops, list) else [ops]:
                    await self.step(i, op)
                    i += 1
        await self.client.stop_all_receive_loops()
        emit(event='end', failed=self.failed)
        return 1 if self.failed else 0


async def main(a):
    try:
        return await asyncio.wait_for(Runner(a).run(), a.exit_after)
    except asyncio.TimeoutError:
        emit(event='end', failed=-1, error='exit-after reached')
        return 2


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('--host', default='127.0.0.1')
    ap.add_argument('--port', type=int, required=True)
    ap.add_argument(
        '--script',
        help='file with a JSON array of operations ("-": the whole of stdin)',
    )
    ap.add_argument('--ops', help='the JSON array itself')
    add_options(ap)
    raise SystemExit(asyncio.run(main(ap.parse_args())))

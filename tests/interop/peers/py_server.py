#!/usr/bin/env python3
"""A TCP server on Python netaio.  See README.md for the endpoints."""

import argparse
import asyncio
import json
import signal

from common import (
    MessageType as MT,
    Plugins,
    add_options,
    auth_error_handler,
    emit,
    field,
    free_port,
    make_logger,
    peers_of,
    show_message,
    stdin_lines,
)
from netaio import (
    Body,
    Message,
    TCPServer,
    make_error_msg,
    make_not_found_msg,
    make_not_permitted_msg,
    make_ok_msg,
    make_respond_uri_msg,
)


def message(mtype, uri, content=b''):
    return Message.prepare(Body.prepare(content, uri), mtype)


def build(a):
    pl = Plugins(a)
    kw = {}
    if a.default_handler == 'none':
        kw['default_handler'] = lambda m, w: None
    elif a.default_handler == 'not_found_uri':
        kw['default_handler'] = lambda m, w: make_not_found_msg(uri=m.body.uri)
    server = TCPServer(
        port=a.port,
        interface=a.host,
        local_peer=pl.local_peer,
        auth_plugin=pl.outer_auth,
        cipher_plugin=pl.outer_cipher,
        auth_error_handler=auth_error_handler(a.auth_error),
        logger=make_logger(a.log),
        **kw,
    )
    store = {}
    count = {'messages': 0}

    def seen(m, w, handler):
        count['messages'] += 1
        if not a.quiet:
            emit(
                event='message',
                handler=handler,
                peer=list(w.get_extra_info('peername') or ()),
                **show_message(m),
            )

    def req(uri, **plugins):
        def deco(f):
            if asyncio.iscoroutinefunction(f):

                async def h(m, w):
                    seen(m, w, uri)
                    return await f(m, w)
            else:

                def h(m, w):
                    seen(m, w, uri)
                    return f(m, w)

            server.add_handler((MT.REQUEST_URI, uri.encode()), h, **plugins)
            return f

        return deco

    @req('echo')
    def echo(m, w):
        return make_respond_uri_msg(m.body.content, m.body.uri)

    @req('slow')
    async def slow(m, w):
        await asyncio.sleep(float(m.body.content.split(b';')[0] or b'1'))
        return make_respond_uri_msg(b'slow ' + m.body.content, m.body.uri)

    @req('never')
    def never(m, w):
        return None

    @req('error')
    def error(m, w):
        return make_error_msg(b'an error for you', m.body.uri)

    @req('error-default-uri')
    def error_default(m, w):
        return make_error_msg(b'an error for nobody')

    @req('not-found')
    def not_found(m, w):
        return make_not_found_msg(uri=m.body.uri)

    @req('not-permitted')
    def not_permitted(m, w):
        return make_not_permitted_msg(uri=m.body.uri)

    @req('raise')
    def raises(m, w):
        raise RuntimeError('raised as asked')

    @req('size')
    def size(m, w):
        return make_respond_uri_msg(b's' * int(m.body.content), m.body.uri)

    @req('twice')
    async def twice(m, w):
        await server.send(
            w, make_respond_uri_msg(b'first ' + m.body.content, m.body.uri)
        )
        return make_respond_uri_msg(b'second ' + m.body.content, m.body.uri)

    @req('close')
    def close(m, w):
        w.close()

    @req('peers')
    def peers(m, w):
        return make_respond_uri_msg(json.dumps(peers_of(server)), m.body.uri)

    @req('stats')
    def stats(m, w):
        return make_respond_uri_msg(
            json.dumps(
                {
                    'clients': len(server.clients),
                    'messages': count['messages'],
                    'store': len(store),
                    'subscriptions': {
                        k.decode('latin1') if isinstance(k, bytes) else str(k): len(
                            v
                        )
                        for k, v in server.subscriptions.items()
                    },
                }
            ),
            m.body.uri,
        )

    # protected by the inner plugins (when given)
    @req('inner', **pl.inner)
    def inner(m, w):
        return make_respond_uri_msg(b'inner ' + m.body.content, m.body.uri)

    @server.on(MT.REQUEST_URI)
    def get(m, w):
        seen(m, w, 'store')
        if m.body.uri not in store:
            return make_not_found_msg(uri=m.body.uri)
        return make_respond_uri_msg(store[m.body.uri], m.body.uri)

    @server.on(MT.CREATE_URI, **pl.inner)
    def create(m, w):
        seen(m, w, 'create')
        if m.body.uri in store:
            return make_error_msg('exists', m.body.uri)
        store[m.body.uri] = m.body.content
        return make_ok_msg('stored', m.body.uri)

    @server.on(MT.UPDATE_URI, **pl.inner)
    def update(m, w):
        seen(m, w, 'update')
        if m.body.uri not in store:
            return make_not_found_msg(uri=m.body.uri)
        store[m.body.uri] = m.body.content
        return make_ok_msg('stored', m.body.uri)

    @server.on(MT.DELETE_URI, **pl.inner)
    def delete(m, w):
        seen(m, w, 'delete')
        if store.pop(m.body.uri, None) is None:
            return make_not_found_msg(uri=m.body.uri)
        return make_ok_msg('deleted', m.body.uri)

    @server.on(MT.SUBSCRIBE_URI)
    def subscribe(m, w):
        seen(m, w, 'subscribe')
        server.subscribe(m.body.uri, w)
        return message(MT.CONFIRM_SUBSCRIBE, m.body.uri)

    @server.on(MT.UNSUBSCRIBE_URI)
    def unsubscribe(m, w):
        seen(m, w, 'unsubscribe')
        server.unsubscribe(m.body.uri, w)
        return message(MT.CONFIRM_UNSUBSCRIBE, m.body.uri)

    @server.on(MT.PUBLISH_URI)
    async def publish(m, w):
        seen(m, w, 'publish')
        n = len(server.subscriptions.get(m.body.uri, ()))
        await server.notify(
            m.body.uri, message(MT.NOTIFY_URI, m.body.uri, m.body.content)
        )
        return make_ok_msg(b'notified %d' % n, m.body.uri)

    return server, pl


async def commands(server, stop):
    """JSON lines on stdin: {"cmd": "broadcast"|"notify", "uri", "content"}, and
    the commands peers, stats and stop."""
    async for line in stdin_lines():
        if not line.strip():
            continue
        try:
            c = json.loads(line)
            cmd = c['cmd']
            if cmd == 'broadcast':
                await server.broadcast(
                    message(
                        MT[c.get('type', 'PUBLISH_URI')],
                        field(c, 'uri'),
                        field(c, 'content'),
                    )
                )
                emit(event='done', cmd=cmd, clients=len(server.clients))
            elif cmd == 'notify':
                n = len(server.subscriptions.get(field(c, 'uri'), ()))
                await server.notify(
                    field(c, 'uri'),
                    message(
                        MT[c.get('type', 'NOTIFY_URI')],
                        field(c, 'uri'),
                        field(c, 'content'),
                    ),
                )
                emit(event='done', cmd=cmd, subscribers=n)
            elif cmd == 'peers':
                emit(event='done', cmd=cmd, peers=peers_of(server))
            elif cmd == 'stats':
                emit(
                    event='done',
                    cmd=cmd,
                    clients=len(server.clients),
                    subscriptions={
                        str(k): len(v) for k, v in server.subscriptions.items()
                    },
                )
            elif cmd == 'stop':
                stop.set()
                return
            else:
                emit(event='error', text=f'unknown cmd {cmd}')
        except Exception as e:
            emit(event='error', text=repr(e))
    if not stop.is_set():
        stop.set()


async def main(a):
    a.port = a.port or free_port()
    server, pl = build(a)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for s in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(s, stop.set)
    if a.manage_peers:
        await server.manage_peers_automatically(app_id=a.app_id.encode())
    task = asyncio.create_task(server.start())
    for _ in range(500):
        try:
            r, w = await asyncio.open_connection(a.host, a.port)
            w.close()
            break
        except OSError:
            if task.done():
                break
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.02)
    if task.done():
        emit(event='failed', error=repr(task.exception()))
        return 1
    emit(event='listening', host=a.host, port=a.port)
    cmds = asyncio.create_task(commands(server, stop)) if a.stdin else None
    try:
        await asyncio.wait_for(stop.wait(), a.exit_after)
    except asyncio.TimeoutError:
        pass
    if cmds:
        cmds.cancel()
    task.cancel()
    # From Python 3.12.1 on the server waits here for its connections to end.
    await asyncio.wait([task], timeout=1)
    emit(event='stopped')
    return 0


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('--host', default='127.0.0.1')
    ap.add_argument(
        '--port',
        type=int,
        default=0,
        help='0: any free port; see the "listening" line',
    )
    ap.add_argument(
        '--default-handler',
        choices=['not_found', 'not_found_uri', 'none'],
        default='not_found',
    )
    ap.add_argument(
        '--stdin',
        action='store_true',
        help='read commands from stdin; end at its end',
    )
    ap.add_argument('--quiet', action='store_true', help='no line per message')
    add_options(ap)
    raise SystemExit(asyncio.run(main(ap.parse_args())))

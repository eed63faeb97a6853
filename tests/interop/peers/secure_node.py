#!/usr/bin/env python3
"""The example secure_node of netaio-asymmetric on Python netaio: a node of a
group whose members have a key each.

    secure_node.py serve PORT      Bob, until the end of standard input
    secure_node.py ask PORT        Ada asks the node at that port

Prints what happens as JSON lines, as the other programs here do."""

import asyncio
import socket
import sys

import tapescript
from common import emit, free_port, make_logger
from nacl.signing import SigningKey
from netaio import Body, DefaultPeerPlugin, Message, MessageType, Peer, UDPNode
from netaio import make_respond_uri_msg
from netaio.asymmetric import TapescriptAuthPlugin, X25519CipherPlugin

GROUP = b'secure'
ADA, BOB = b'\x0a' * 32, b'\x0b' * 32
MEMBERS = [bytes(SigningKey(seed).verify_key) for seed in (ADA, BOB)]


class Member:
    def __init__(self, name, seed, port):
        key = SigningKey(seed)
        self.name = name
        self.cipher = X25519CipherPlugin({'seed': seed})
        self.myself = Peer(
            addrs=set(),
            id=name,
            data=DefaultPeerPlugin().encode_data(
                {
                    'lock': tapescript.make_single_sig_lock(key.verify_key).bytes,
                    'pubkey': bytes(self.cipher.pubk),
                    'vkey': bytes(self.cipher.vkey),
                }
            ),
        )
        self.node = UDPNode(
            port=port,
            interface='127.0.0.1',
            local_peer=self.myself,
            auth_plugin=TapescriptAuthPlugin(
                {
                    'lock': tapescript.make_multisig_lock(MEMBERS, 1),
                    'seed': seed,
                    'use_peer_lock': True,
                }
            ),
            default_handler=lambda message, address: None,
            logger=make_logger('warning'),
            ignore_own_ip=False,
        )
        self.node.add_handler(
            (MessageType.REQUEST_URI, b'secret'),
            self.secret,
            cipher_plugin=self.cipher,
        )

    def secret(self, message, address):
        emit(event='told', content=message.body.content.decode())
        return make_respond_uri_msg(
            self.name + b' knows ' + message.body.content, message.body.uri
        )

    async def start(self):
        await self.node.start()
        await self.node.manage_peers_automatically(600, GROUP, 600)

    async def stop(self):
        await self.node.stop_peer_advertisement(GROUP)
        await self.node.stop()

    async def meet(self, other):
        """Introduces itself to a node whose address it was told."""
        content = DefaultPeerPlugin().pack(self.myself)
        hello = Message.prepare(
            Body.prepare(content, GROUP), MessageType.ADVERTISE_PEER
        )
        self.node.send(hello, other)
        while self.node.get_peer(addr=other) is None:
            await asyncio.sleep(0.01)
        return self.node.get_peer(addr=other)

    async def tell(self, other, secret):
        reply = await self.node.request(
            b'secret', other, content=secret, timeout=30, cipher_plugin=self.cipher
        )
        return reply.body.content


async def serve(port):
    bob = Member(b'Bob', BOB, port)
    await bob.start()
    emit(event='listening', host='127.0.0.1', port=port)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await bob.stop()


async def ask(port):
    ada = Member(b'Ada', ADA, free_port(socket.SOCK_DGRAM))
    await ada.start()
    other = ('127.0.0.1', port)
    met = await asyncio.wait_for(ada.meet(other), 30)
    emit(event='met', id=met.id.decode())
    emit(event='answer', content=(await ada.tell(other, b'a secret')).decode())
    await ada.stop()


if __name__ == '__main__':
    what, port = sys.argv[1:]
    asyncio.run({'serve': serve, 'ask': ask}[what](int(port)))

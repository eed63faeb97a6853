"""Python netaio 0.0.9 as it would be measured by its users.

    ends.py server [--uvloop]                          prints its port, serves
    ends.py client PORT DEPTH BYTES SECONDS [--uvloop] prints requests a second

Replies are told apart by their URI alone, so each of DEPTH loops has its own.
"""

import asyncio
import logging
import sys
import time

from netaio import Body, Message, MessageType, TCPClient, TCPServer


async def serve():
    server = TCPServer(port=0, interface="127.0.0.1")

    @server.on(MessageType.REQUEST_URI)
    def echo(message, _writer):
        body = Body.prepare(message.body.content, message.body.uri)
        return Message.prepare(body, MessageType.RESPOND_URI)

    serving = asyncio.ensure_future(server.start())
    while getattr(server, "server", None) is None or not server.server.sockets:
        await asyncio.sleep(0.01)
    print(server.server.sockets[0].getsockname()[1], flush=True)
    await serving


async def ask(port, depth, size, seconds):
    client = TCPClient("127.0.0.1", port)
    await client.connect()
    # Were a request to start the reader, it would end it as well.
    await client.start_receive_loop()
    content = b"\7" * size
    start = time.monotonic()
    end = start + seconds

    async def loop(uri):
        count = 0
        while time.monotonic() < end:
            await client.request(uri, content=content)
            count += 1
        return count

    loops = (loop(b"echo/%d" % number) for number in range(depth))
    counts = await asyncio.gather(*loops)
    print(sum(counts) / (time.monotonic() - start), flush=True)


def main():
    words = [word for word in sys.argv[1:] if word != "--uvloop"]
    if "--uvloop" in sys.argv:
        import uvloop

        run = uvloop.run
    else:
        run = asyncio.run
    logging.disable(logging.CRITICAL)
    if words[0] == "server":
        run(serve())
    else:
        port, depth, size, seconds = words[1:]
        run(ask(int(port), int(depth), int(size), float(seconds)))


main()

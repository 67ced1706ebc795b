"""An aiosmtpd that accepts everything, counts it and keeps nothing, until SIGTERM."""

import asyncio
import signal

from aiosmtpd.smtp import SMTP


class Discard:
    counted = 0

    async def handle_DATA(self, server, session, envelope):
        self.counted += 1
        return '250 2.0.0 Ok'


async def main():
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    discard = Discard()
    server = await loop.create_server(lambda: SMTP(discard, hostname='mx.test', loop=loop), '127.0.0.1', 0, backlog=512)
    print('ready on 127.0.0.1:%d' % server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    print('counted %d' % discard.counted, flush=True)


asyncio.run(main())

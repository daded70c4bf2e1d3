"""An order service that does nothing: it takes every order at once, so that only the generator is measured.

`python -m loadtests.sink` prints its port on 127.0.0.1 and ends by itself.
"""

import asyncio
import socket

from aiohttp import web

LIFETIME_SECONDS = 60.0
BACKLOG = 4096


async def answer(request: web.Request) -> web.Response:
    """Take an order."""
    await request.read()
    return web.json_response({}, status=201)


async def end_in_time(_: web.Application) -> None:
    """Leave nothing running when whoever started this was killed."""

    def end() -> None:
        raise web.GracefulExit

    asyncio.get_running_loop().call_later(LIFETIME_SECONDS, end)


def main() -> None:
    """Serve `POST /order`."""
    app = web.Application()
    app.router.add_post("/order", answer)
    app.on_startup.append(end_in_time)
    listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    print(listening.getsockname()[1], flush=True)
    web.run_app(app, sock=listening, print=None, access_log=None)


if __name__ == "__main__":
    main()

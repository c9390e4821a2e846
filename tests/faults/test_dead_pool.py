"""Retries after a lost connection: over a new one, the first at once."""

from __future__ import annotations

import asyncio

from junkie_async import AttemptEvent, Hooks, JunkieClient, RetryPolicy

FOLDERS = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"folders": []}'


class Recorder(Hooks):
    """Keeps the attempts."""

    def __init__(self) -> None:
        self.attempts: list[AttemptEvent] = []

    def on_attempt(self, event: AttemptEvent) -> None:
        """Keep one."""
        self.attempts.append(event)


class Server:
    """Answers the first request of each connection; later ones close it, once `dead` is set."""

    def __init__(self) -> None:
        self.dead = False
        self.together = asyncio.Barrier(16)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        try:
            await reader.readuntil(b"\r\n\r\n")
            if not self.dead:
                await self.together.wait()
            writer.write(FOLDERS)
            await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


async def check_dead_pool(junkie: JunkieClient, service: Server, recorder: Recorder) -> None:
    """Fill the pool, let it die, and check that each of two calls needs one attempt more."""
    await asyncio.gather(*(junkie.keys.folders() for _ in range(16)))
    service.dead = True
    recorder.attempts.clear()
    async with asyncio.timeout(10):
        for _ in range(2):
            await junkie.keys.folders()
    attempts = [(event.attempt, event.status) for event in recorder.attempts]
    assert attempts == [(1, None), (2, 200)] * 2


async def test_a_dead_pool_costs_one_attempt() -> None:
    """With 16 dead connections in the pool, each next call succeeds with its second attempt."""
    service, recorder = Server(), Recorder()
    listening = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()[:2]
    url = f"http://{host}:{port}"
    patient = RetryPolicy(wait_initial=60.0)  # a back-off would show
    async with (
        listening,
        JunkieClient("k", base_url=url, retry=patient, hooks=recorder) as junkie,
    ):
        await check_dead_pool(junkie, service, recorder)

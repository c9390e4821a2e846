"""Calls under sentry-sdk and OpenTelemetry, which patch aiohttp in the whole process.

`test_error_trackers` runs this as a script. It prints the secrets that they have recorded.
"""

from __future__ import annotations

import asyncio
import json

import aiohttp
import sentry_sdk
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.envelope import Envelope

from junkie_async import JunkieClient, NotFoundError

from ._echo import Request, Service
from .test_secrets import API_KEY, DIGITS, FILTER, HWID, MISBEHAVIOUR, PATH, found, good


class Captured(sentry_sdk.transport.Transport):
    """Keeps what sentry-sdk would send."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep an envelope, as written."""
        self.text += envelope.serialize().decode()


def answer(request: Request) -> bytes | None:
    """Answer a deletion with 404, and all else well."""
    return (MISBEHAVIOUR["error 404"] if request.method == "DELETE" else good)(request)


async def record_calls(session: aiohttp.ClientSession | None, captured: Captured) -> list[str]:
    """Make calls, and return the secrets that were recorded of them."""
    captured.text = ""
    spans.clear()
    async with (
        Service(answer) as service,
        JunkieClient(API_KEY, base_url=service.url, session=session) as client,
    ):
        with sentry_sdk.isolation_scope(), sentry_sdk.start_transaction(name="calls"):
            await client.keys.get(PATH)
            await client.keys.list(key=FILTER, hwid=HWID).collect()
            await client.keys.update(PATH, hwids=[HWID])
            await client.keys.reset_hwid(PATH)
            await client.keys.find(DIGITS)
            try:
                await client.keys.delete(PATH)
            except NotFoundError as error:
                sentry_sdk.capture_exception(error)
    assert "NotFoundError" in captured.text
    assert "transaction" in captured.text
    return sorted(found(captured.text + "".join(map(span_text, spans.get_finished_spans()))))


def span_text(span: object) -> str:
    """Write a span as JSON."""
    return str(span.to_json())  # type: ignore[attr-defined]


async def main() -> None:
    """Make calls over the client's own sessions, a given one, and one that was kept clean."""
    captured = Captured()
    sentry_sdk.init("https://key@sentry.invalid/1", transport=captured, traces_sample_rate=1.0)
    async with aiohttp.ClientSession() as given, aiohttp.ClientSession() as cleared:
        cleared.trace_configs.clear()
        sessions = {"own": None, "given": given, "cleared": cleared}
        print(
            json.dumps({name: await record_calls(one, captured) for name, one in sessions.items()})
        )


spans = InMemorySpanExporter()

if __name__ == "__main__":
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    AioHttpClientInstrumentor().instrument(tracer_provider=provider)
    asyncio.run(main())

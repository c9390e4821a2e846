"""For OpenTelemetry: a span for each attempt, and metrics.

JunkieClient(hooks=OpenTelemetryHooks())

Names and values are those of the semantic conventions for HTTP (1.27, where they are stable):
https://opentelemetry.io/docs/specs/semconv/http/. It needs the extra ``opentelemetry``, which is
the API alone; where the spans go is the affair of the program's SDK.
"""

from __future__ import annotations

import time
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from .. import APIError, AttemptEvent, Hooks, JobEvent, JunkieError, PauseEvent, RetryEvent
from .. import __version__ as version
from . import needs_extra

with needs_extra("opentelemetry"):
    from opentelemetry import metrics, trace

__all__ = ["OpenTelemetryHooks"]

Attributes: TypeAlias = dict[str, str | int]

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.27.0"
_PORTS: Final = MappingProxyType({"http": 80, "https": 443})

# fmt: off
_DURATIONS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)
"""The convention's bucket boundaries for ``http.client.request.duration``, in seconds."""

_WAITS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Ours, up to what `RetryPolicy.retry_after_cap` is by default."""
# fmt: on


class OpenTelemetryHooks(Hooks):
    """Makes spans and metrics of what a client does.

    Each attempt is a span of kind CLIENT, named such as ``GET /keys/{keyId}``, from its turn to the
    end of its answer's body. It is made when the attempt is over, as a child of what is current in
    the task that made the call, and so the service hears nothing of the trace. ``error.type`` is
    the status, or the name of the error's class where no answer came; redirects are errors, since
    the client follows none. ``url.full`` has the path's template and no query: the convention wants
    sensitive parts scrubbed, and in this API a key value is in both. aiohttp's own instrumentation,
    which would make a second span of each attempt, does not know that.

    ================================  =========  ================================================
    ``http.client.request.duration``  s          Attempts, with the attributes of their spans
    ``junkie.client.retry.wait``      s          Waits before retries
    ``junkie.client.pause.duration``  s          Pauses of the whole client
    ``junkie.client.request.limit``   {request}  Requests in flight that the last pause left
    ``junkie.client.job.keys``        {key}      Keys that large jobs are done with
    ================================  =========  ================================================

    Args:
        tracer_provider: What makes the spans; the global one by default.
        meter_provider: What makes the metrics; the global one by default.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer("junkie_async", version, tracer_provider, _SCHEMA)
        meter = metrics.get_meter("junkie_async", version, meter_provider, _SCHEMA)
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )
        self._wait = meter.create_histogram(
            "junkie.client.retry.wait",
            "s",
            "Time that calls waited to be sent again.",
            explicit_bucket_boundaries_advisory=_WAITS,
        )
        self._pause = meter.create_histogram(
            "junkie.client.pause.duration",
            "s",
            "Time for which a client sends nothing, since the service has had too many requests.",
            explicit_bucket_boundaries_advisory=_WAITS,
        )
        self._limit = meter.create_gauge(
            "junkie.client.request.limit", "{request}", "Requests in flight that a pause left."
        )
        self._keys = meter.create_counter(
            "junkie.client.job.keys", "{key}", "Keys that large jobs are done with."
        )

    def on_attempt(self, event: AttemptEvent) -> None:
        """Make the attempt's span, and count its duration."""
        end = time.time_ns()
        seen = _request(event.method, event.path) | _server(event.url) | _ending(event)
        span = self._tracer.start_span(
            f"{event.method} {event.path}",
            kind=trace.SpanKind.CLIENT,
            attributes=seen | {"url.full": event.url} | _resent(event),
            start_time=end - round(event.seconds * 1e9),
        )
        if "error.type" in seen:
            span.set_status(trace.StatusCode.ERROR)
        span.end(end)
        self._duration.record(event.seconds, seen, trace.set_span_in_context(span))

    def on_retry(self, event: RetryEvent) -> None:
        """Count the wait."""
        failed: Attributes = {"error.type": _type(event.error)}
        self._wait.record(event.seconds, _request(event.method, event.path) | failed)

    def on_pause(self, event: PauseEvent) -> None:
        """Count the pause, and note what it left of the requests in flight."""
        self._pause.record(event.seconds, {"junkie.pause.from_server": event.from_server})
        self._limit.set(event.ceiling)

    def on_job(self, event: JobEvent) -> None:
        """Count the keys."""
        self._keys.add(event.keys, {"junkie.job.name": event.job})


def _request(method: str, path: str) -> Attributes:
    return {"http.request.method": method, "url.template": path}


@lru_cache(maxsize=64)  # as many as there are operations, since the path is a template
def _server(url: str) -> Attributes:
    parts = urlsplit(url)
    return {
        "server.address": parts.hostname or "",
        "server.port": parts.port or _PORTS[parts.scheme],
    }


def _ending(event: AttemptEvent) -> Attributes:
    if event.status is None:
        return {"error.type": event.error or "_OTHER"}
    status: Attributes = {"http.response.status_code": event.status}
    return status if event.status < 300 else status | {"error.type": str(event.status)}


def _resent(event: AttemptEvent) -> Attributes:
    return {"http.request.resend_count": event.attempt - 1} if event.attempt > 1 else {}


def _type(error: JunkieError) -> str:
    known = isinstance(error, APIError) and error.status
    return str(known or type(error).__name__)

"""Hooks that record a span for each attempt, and metrics, with OpenTelemetry.

    JunkieClient(hooks=OpenTelemetryHooks())

Names and values follow the stable semantic conventions for HTTP 1.27:
https://opentelemetry.io/docs/specs/semconv/http/. It needs the extra ``opentelemetry``, which
brings the API only. The SDK that your program configures decides where spans and metrics go.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from .. import (
    APIError,
    AttemptEvent,
    Hooks,
    JobEvent,
    JunkieError,
    OutageEvent,
    PauseEvent,
    RetryEvent,
)
from .. import __version__ as version
from . import needs_extra

with needs_extra("opentelemetry"):
    from opentelemetry import metrics, trace

__all__ = ["OpenTelemetryHooks"]

Attributes: TypeAlias = dict[str, str | int]

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.27.0"

# The convention's own boundaries for `http.client.request.duration`.
_DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# Up to the default of `RetryPolicy.retry_after_cap`.
_WAIT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class OpenTelemetryHooks(Hooks):
    """Records spans and metrics of a client.

    Each attempt is a span of kind CLIENT with a name such as ``GET /keys/{keyId}``. It covers the
    time from the attempt's request slot to the end of the response body. The span is recorded when
    the attempt ends, as a child of the current span in the task that made the call; the trace
    context is not sent to the service. ``junkie.request.id`` is the response's request ID.
    ``error.type`` is the status, or the name of the error's
    class if no response arrived. A redirect is an error: the client follows none.

    ``url.full`` has the path's template and no query, because both can contain a key value and the
    convention wants sensitive parts removed. aiohttp's own instrumentation records complete URLs.
    It does not see the client's own sessions; `JunkieClient` says how to keep it off a given one.

    | metric                           | unit      | records                                       |
    | -------------------------------- | --------- | --------------------------------------------- |
    | ``http.client.request.duration`` | s         | Attempts, with the attributes of their spans  |
    | ``junkie.client.retry.wait``     | s         | Waits before retries                          |
    | ``junkie.client.pause.duration`` | s         | Pauses of the whole client                    |
    | ``junkie.client.request.limit``  | {request} | Requests allowed in flight after a pause      |
    | ``junkie.client.outage.wait``    | s         | Waits of walks and jobs in an outage          |
    | ``junkie.client.job.keys``       | {key}     | Keys processed by jobs                        |

    Args:
        tracer_provider: Provides the tracer; the global provider by default.
        meter_provider: Provides the meter; the global provider by default.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer("junkie_async", version, tracer_provider, _SCHEMA)
        meter = metrics.get_meter("junkie_async", version, meter_provider, _SCHEMA)

        def histogram(name: str, description: str, buckets: Sequence[float]) -> metrics.Histogram:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=buckets
            )

        self._duration = histogram(
            "http.client.request.duration", "Duration of HTTP client requests.", _DURATION_BUCKETS
        )
        self._wait = histogram(
            "junkie.client.retry.wait", "Wait before a call was retried.", _WAIT_BUCKETS
        )
        self._pause = histogram(
            "junkie.client.pause.duration", "Pause of a client after a rate limit.", _WAIT_BUCKETS
        )
        self._limit = meter.create_gauge(
            "junkie.client.request.limit",
            "{request}",
            "Requests allowed in flight after the last pause.",
        )
        self._outage = histogram(
            "junkie.client.outage.wait",
            "Wait of a walk or a job for a service that is failing.",
            _WAIT_BUCKETS,
        )
        self._keys = meter.create_counter("junkie.client.job.keys", "{key}", "Keys done by jobs.")

    def on_attempt(self, event: AttemptEvent) -> None:
        """Record the attempt's span and duration."""
        # The span is made afterwards, so its start is derived: `event.seconds` comes from the
        # monotonic clock, and spans need the wall clock.
        end = time.time_ns()
        attributes = _attempt_attributes(event)
        of_span: Attributes = {"url.full": event.url}
        if event.attempt > 1:
            of_span["http.request.resend_count"] = event.attempt - 1
        if event.request_id is not None:
            of_span["junkie.request.id"] = event.request_id
        span = self._tracer.start_span(
            f"{event.method} {event.path}",
            kind=trace.SpanKind.CLIENT,
            attributes=attributes | of_span,
            start_time=end - round(event.seconds * 1e9),
        )
        if "error.type" in attributes:
            span.set_status(trace.StatusCode.ERROR)
        span.end(end)
        # With the span's context, the SDK can attach it to the histogram as an exemplar.
        self._duration.record(event.seconds, attributes, trace.set_span_in_context(span))

    def on_retry(self, event: RetryEvent) -> None:
        """Record the wait before a retry."""
        self._wait.record(event.seconds, _request_attributes(event) | _reason(event.error))

    def on_pause(self, event: PauseEvent) -> None:
        """Record the pause, and the number of requests allowed in flight afterwards."""
        self._pause.record(event.seconds, {"junkie.pause.from_server": event.from_server})
        self._limit.set(event.ceiling)

    def on_outage(self, event: OutageEvent) -> None:
        """Record the wait before the next attempt in an outage."""
        self._outage.record(event.wait, _request_attributes(event) | _reason(event.error))

    def on_job(self, event: JobEvent) -> None:
        """Count the keys that a job has processed."""
        self._keys.add(event.keys, {"junkie.job.name": event.job})


def _reason(error: JunkieError) -> Attributes:
    status = error.status if isinstance(error, APIError) else None
    return {"error.type": str(status or type(error).__name__)}


def _request_attributes(event: AttemptEvent | RetryEvent | OutageEvent) -> Attributes:
    return {"http.request.method": event.method, "url.template": event.path}


def _attempt_attributes(event: AttemptEvent) -> Attributes:
    url = urlsplit(event.url)
    attributes = _request_attributes(event) | {
        "server.address": url.hostname or "",
        "server.port": url.port or (443 if url.scheme == "https" else 80),
    }
    if event.status is not None:
        attributes["http.response.status_code"] = event.status
    if event.status is None or event.status >= 300:
        # The last one is the convention's fallback value.
        attributes["error.type"] = str(event.status or event.error or "_OTHER")
    return attributes

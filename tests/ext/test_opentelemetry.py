"""Spans and metrics, recorded by the real OpenTelemetry SDK."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, use_span

from junkie_async import AttemptEvent, ConnectError, JunkieClient, NotFoundError, RetryPolicy
from junkie_async.ext.opentelemetry import OpenTelemetryHooks

from ..unit.clock import run
from ..unit.scripted import FOLDERS, Script
from ..unit.test_hooks import TOO_MANY, observed
from ._traffic import FAILS, KEY_VALUE, cause_all_events, traffic

CONVENTION = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


@attrs.define
class Telemetry:
    """An SDK that keeps everything in memory."""

    spans: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = attrs.field(factory=InMemoryMetricReader)
    tracers: TracerProvider = attrs.field(init=False)
    meters: MeterProvider = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    @property
    def hooks(self) -> OpenTelemetryHooks:
        """Hooks that report to it."""
        return OpenTelemetryHooks(self.tracers, self.meters)

    @property
    def attempts(self) -> list[ReadableSpan]:
        """The spans of attempts, in the order in which they ended."""
        return [span for span in self.spans.get_finished_spans() if span.kind is SpanKind.CLIENT]

    def metrics(self) -> dict[str, Any]:
        """Return all metrics by name."""
        data = self.reader.get_metrics_data()
        assert data is not None
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        assert (scope.scope.name, scope.schema_url[-6:]) == ("junkie_async", "1.27.0")
        return {metric.name: metric for metric in scope.metrics}


@pytest.fixture
def telemetry() -> Telemetry:
    """The test's own SDK."""
    return Telemetry()


async def test_a_span_follows_the_convention(telemetry: Telemetry) -> None:
    """An attempt is a CLIENT span with the required attributes, a child of the caller's span."""
    async with traffic(telemetry.hooks) as (junkie, _):
        began = time.time_ns()
        with telemetry.tracers.get_tracer("test").start_as_current_span("handler") as handler:
            await junkie.keys.get(KEY_VALUE)
        ended = time.time_ns()
    (span,) = telemetry.attempts
    port = urlsplit(junkie.base_url).port
    assert (span.name, span.kind) == ("GET /keys/{keyId}", SpanKind.CLIENT)
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.full": f"http://127.0.0.1:{port}/api/v2/keys/{{keyId}}",
        "url.template": "/keys/{keyId}",
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.parent == handler.get_span_context()
    assert span.start_time is not None
    assert span.end_time is not None
    slack = 5_000_000  # the event's clock and the span's are two
    assert began - slack <= span.start_time < span.end_time <= ended


async def test_the_metric_of_an_attempt(telemetry: Telemetry) -> None:
    """It has the span's duration and attributes except the URL, in the convention's buckets."""
    async with traffic(telemetry.hooks) as (junkie, _):
        await junkie.keys.get(KEY_VALUE)
    (span,) = telemetry.attempts
    metric = telemetry.metrics()["http.client.request.duration"]
    (point,) = metric.data.data_points
    assert metric.unit == "s"
    assert point.explicit_bounds == CONVENTION
    assert point.attributes == {
        name: value for name, value in (span.attributes or {}).items() if name != "url.full"
    }
    assert span.start_time is not None
    assert span.end_time is not None
    assert point.sum == pytest.approx((span.end_time - span.start_time) / 1e9, abs=1e-8)
    assert [exemplar.span_id for exemplar in point.exemplars] == [span.context.span_id]


async def test_a_retry_is_another_span(telemetry: Telemetry) -> None:
    """The first span failed; the second one has a resend count of 1."""
    async with traffic(telemetry.hooks) as (junkie, emulator):
        emulator.faults = FAILS
        with telemetry.tracers.get_tracer("test").start_as_current_span("handler") as handler:
            await junkie.keys.get(KEY_VALUE)
    first, second = telemetry.attempts
    assert first.parent == second.parent == handler.get_span_context()
    assert first.attributes is not None
    assert second.attributes is not None
    assert (first.status.status_code, first.attributes["error.type"]) == (StatusCode.ERROR, "503")
    assert "http.request.resend_count" not in first.attributes
    assert second.status.status_code is StatusCode.UNSET
    assert second.attributes["http.request.resend_count"] == 1
    (point,) = telemetry.metrics()["junkie.client.retry.wait"].data.data_points
    assert point.count == 1
    assert point.sum > 0
    assert point.attributes == {
        "error.type": "503",
        "http.request.method": "GET",
        "url.template": "/keys/{keyId}",
    }


async def test_an_error_status(telemetry: Telemetry) -> None:
    """A 4xx is an error too; the span has no description, because the status is enough."""
    async with traffic(telemetry.hooks) as (junkie, _):
        with pytest.raises(NotFoundError):
            await junkie.keys.get(999)
    (span,) = telemetry.attempts
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert (span.attributes or {})["error.type"] == "404"


async def test_no_response_is_an_error(telemetry: Telemetry) -> None:
    """Without a response, the error type is the class's name and there is no status."""
    retry, url = RetryPolicy(attempts=1), "http://127.0.0.1:9"
    async with JunkieClient("x", base_url=url, retry=retry, hooks=telemetry.hooks) as junkie:
        with pytest.raises(ConnectError):
            await junkie.keys.get(1)
    (span,) = telemetry.attempts
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ConnectError"
    assert "http.response.status_code" not in span.attributes


async def test_a_cancelled_attempt_is_an_error(telemetry: Telemetry) -> None:
    """The span of a cancelled attempt is an error, and a child of the caller's span."""
    async with traffic(telemetry.hooks) as (junkie, emulator):
        emulator.latency = 30.0
        handler = telemetry.tracers.get_tracer("test").start_span("handler")
        with pytest.raises(TimeoutError), use_span(handler, end_on_exit=True):
            async with asyncio.timeout(0.1):
                await junkie.keys.get(1)
    (span,) = telemetry.attempts
    assert (span.attributes or {})["error.type"] == "CancelledError"
    assert span.parent == handler.get_span_context()


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("https://api.example/v2/keys", "api.example", 443),
        ("http://[::1]/keys", "::1", 80),
        ("https://api.example:8443/keys", "api.example", 8443),
    ],
)
def test_a_redirect_is_an_error(telemetry: Telemetry, url: str, address: str, port: int) -> None:
    """The client follows no redirect. The port is known even if the URL has none."""
    event = AttemptEvent(method="GET", path="/keys", url=url, attempt=1, seconds=0.5, status=302)
    telemetry.hooks.on_attempt(event)
    (span,) = telemetry.attempts
    assert span.attributes is not None
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "302"
    assert (span.attributes["server.address"], span.attributes["server.port"]) == (address, port)


async def test_spans_are_children_of_their_callers_spans(telemetry: Telemetry) -> None:
    """Concurrent calls, and a walk that prefetches, keep their callers' spans as parents."""
    tracer = telemetry.tracers.get_tracer("test")

    async def handle(number: int) -> None:
        with tracer.start_as_current_span(f"handler {number}"):
            await junkie.keys.get(KEY_VALUE)

    async with traffic(telemetry.hooks) as (junkie, emulator):
        await asyncio.gather(*map(handle, range(20)))
        parents = [span.parent.span_id for span in telemetry.attempts if span.parent]
        assert len(set(parents)) == len(parents) == 20
        telemetry.spans.clear()
        await emulator.seed(500)
        with tracer.start_as_current_span("walk") as walk:
            assert len(await junkie.keys.list().collect()) == 501
        assert len(telemetry.attempts) >= 6
        assert all(span.parent == walk.get_span_context() for span in telemetry.attempts)


async def test_all_metrics(telemetry: Telemetry) -> None:
    """The metrics of attempts, retries, pauses and jobs have stable names and units."""
    await cause_all_events(telemetry.hooks)
    metrics = telemetry.metrics()
    assert {name: metric.unit for name, metric in metrics.items()} == {
        "http.client.request.duration": "s",
        "junkie.client.job.keys": "{key}",
        "junkie.client.pause.duration": "s",
        "junkie.client.request.limit": "{request}",
        "junkie.client.retry.wait": "s",
    }
    points = {name: metric.data.data_points for name, metric in metrics.items()}
    assert sum(point.count for point in points["http.client.request.duration"]) == 7
    assert {
        point.attributes["error.type"]: point.count for point in points["junkie.client.retry.wait"]
    } == {"503": 1, "429": 1}
    (pause,) = points["junkie.client.pause.duration"]
    assert (pause.count, pause.attributes) == (1, {"junkie.pause.from_server": False})
    assert [point.value for point in points["junkie.client.request.limit"]] == [1]
    assert {
        point.attributes["junkie.job.name"]: point.value
        for point in points["junkie.client.job.keys"]
    } == {"create_many": 150, "delete_many": 151}


def test_the_length_of_a_pause(telemetry: Telemetry) -> None:
    """A pause is as long as the service asked, and so is the wait of the call."""

    async def main() -> None:
        dispatcher, _ = observed(Script(TOO_MANY), telemetry.hooks)
        await dispatcher.send(FOLDERS)

    run(main())
    metrics = telemetry.metrics()
    (pause,) = metrics["junkie.client.pause.duration"].data.data_points
    (wait,) = metrics["junkie.client.retry.wait"].data.data_points
    assert (pause.sum, pause.attributes) == (7.0, {"junkie.pause.from_server": True})
    assert pause.explicit_bounds[-1] == 120.0
    assert (wait.count, round(wait.sum, 3)) == (1, 7.0)


async def test_no_key_value_shows(telemetry: Telemetry) -> None:
    """Exported spans and metrics have path templates only."""
    async with traffic(telemetry.hooks) as (junkie, _):
        await junkie.keys.find(KEY_VALUE)
        await junkie.keys.verify(KEY_VALUE, hwid=KEY_VALUE)
        await junkie.keys.update(KEY_VALUE, key_name=KEY_VALUE)
        await junkie.keys.delete(KEY_VALUE)
    exported = "".join(span.to_json() for span in telemetry.attempts)
    data = telemetry.reader.get_metrics_data()
    assert data is not None
    assert len(telemetry.attempts) >= 4
    assert KEY_VALUE not in exported + data.to_json()
    assert "secret" not in exported + data.to_json()


async def test_without_an_sdk_nothing_happens() -> None:
    """With the API only, the hooks do nothing and raise nothing."""
    await cause_all_events(OpenTelemetryHooks())

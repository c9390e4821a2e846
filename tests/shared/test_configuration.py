"""A shared throttle is opt-in, says what is missing, and shows no secret."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from junkie_async import ConfigurationError, InvalidRequestError, JunkieClient, RateLimit
from junkie_async.emulator import Emulator
from junkie_async.redis import RedisThrottle

from .conftest import Recorder

SECRET = "hunter2"


def run_python(code: str) -> str:
    """Run code in another process; return what it prints."""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def test_the_package_imports_no_redis() -> None:
    """`import junkie_async`, and even `junkie_async.redis`, do not import redis-py."""
    code = (
        "import sys, junkie_async, junkie_async.redis\n"
        "junkie_async.JunkieClient('k')\n"
        "print({'redis', 'asyncpg'} & set(sys.modules))"
    )
    assert run_python(code) == "set()"


def test_a_missing_extra_names_itself() -> None:
    """Without redis-py, a RedisThrottle says what to install."""
    code = (
        "import sys\n"
        "sys.modules['redis'] = None\n"
        "from junkie_async import ConfigurationError\n"
        "from junkie_async.redis import RedisThrottle\n"
        "try:\n    RedisThrottle('redis://localhost')\n"
        "except ConfigurationError as error:\n    print(error)"
    )
    assert 'run `pip install "junkie_async[redis]"`' in run_python(code)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{SECRET}@cache:6379/0",
        f"rediss://:{SECRET}@cache/1?ssl_cert_reqs=none",
        f"redis://cache/0?password={SECRET}",
        f"redis://cache/0?password={SECRET}@1",
        f"unix://:{SECRET}@/run/redis@cache.sock",
    ],
)
def test_reprs_show_no_credentials(url: str) -> None:
    """Neither the throttle nor a client that has it shows a password."""
    throttle = RedisThrottle(url)
    client = JunkieClient("k", throttle=throttle)
    assert SECRET not in repr(throttle) + str(throttle) + repr(client)
    assert "cache" in repr(throttle)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@cache",
        f"user:{SECRET}@cache",
        f"redis://:{SECRET}@cache:port/0",
        f"redis://cache/0?{SECRET}=1",
        f"rediss://cache/0?ssl_cert_reqs={SECRET}",
        # Passwords with an unquoted slash
        f"redis://:12/{SECRET}@cache/0",
        f"redis://user:12/{SECRET}@cache/0",
    ],
)
def test_a_wrong_url_is_refused_without_its_credentials(url: str) -> None:
    """The error says what a URL looks like, and its frames hold none."""
    with pytest.raises(ConfigurationError, match="redis://host:6379/0") as caught:
        RedisThrottle(url)
    frames = [entry.locals for entry in caught.traceback if "junkie_async" in str(entry.path)]
    assert SECRET not in str(caught.value) + repr([each for each in frames[1:] if "url" in each])
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: RedisThrottle(6379),  # type: ignore[arg-type]
        lambda: RedisThrottle("redis://cache", rate=100),  # type: ignore[arg-type]
        lambda: JunkieClient("k", throttle="redis://cache"),  # type: ignore[arg-type]
        lambda: JunkieClient("k", throttle=RateLimit(5)),  # type: ignore[arg-type]
    ],
)
def test_other_types_are_refused(make: Any) -> None:
    """What is no URL, no client and no throttle is named."""
    with pytest.raises(InvalidRequestError, match=r"Redis|RateLimit"):
        make()


async def test_an_unreachable_redis_fails_no_call(caplog: pytest.LogCaptureFixture) -> None:
    """Calls go on; the log and the hook name the address once, without the password."""
    recorder = Recorder()
    throttle = RedisThrottle(f"redis://:{SECRET}@127.0.0.1:1/0", rate=RateLimit(50))
    with caplog.at_level(logging.DEBUG):
        async with (
            Emulator() as service,
            JunkieClient("k", base_url=service.url, throttle=throttle, hooks=recorder) as client,
        ):
            for _ in range(5):
                await client.keys.folders()
    [event] = recorder.shared
    assert not event.available
    assert event.store == "redis://127.0.0.1:1/0"
    assert event.rate == 50
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert [each.getMessage() for each in warnings] == [
        "redis://127.0.0.1:1/0: ConnectionError: each process throttles itself until it is back"
    ]
    assert SECRET not in caplog.text

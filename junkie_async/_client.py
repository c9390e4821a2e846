"""`JunkieClient`: its configuration and lifetime."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from ssl import SSLContext
from types import NoneType
from typing import Any, Self

import aiohttp
from yarl import URL

from ._errors import ConfigurationError, InvalidRequestError
from ._hooks import Hooks, check_hooks
from ._http import plain_http
from ._http.api_key import APIKeySource
from ._http.dispatcher import Dispatcher
from ._http.local_rate import RateLimit
from ._http.proxy import choose_proxy
from ._http.retry import RetryPolicy
from ._http.shared_rate import SharedThrottle
from ._http.throttle import Priority
from ._http.tls import make_context
from ._http.transport import Transport
from ._jobs.ledgers import Ledgers
from ._keys.calls import copy_calls
from ._keys.keys import Keys
from ._masking import error_boundary
from ._models import UNSET, APIResponse, Unset
from ._protocol.codec import prepare_codec
from ._protocol.raw_requests import Params, make_raw_request
from ._protocol.redaction import prepare_redaction
from ._stores import load_sqlite, open_store
from ._validation import check_boolean, check_seconds, safe_repr
from ._verification.look_ups import LookUps
from ._verification.service_health import PROBE_AFTER

_APP = r"[\w.~-]+(/[\w.~-]+)?"

BASE_URL = "https://api.jnkie.com/api/v2"


class JunkieClient:
    """Client for the Junkie REST API. Create one per app, and share it between all tasks.

    Use it with ``async with``, or call `close` at the end. The first call opens the connections in
    the event loop that is running. A client works in one event loop after another: once that one is
    closed, as after `asyncio.run`, the next call starts anew and keeps the rate that was learned.
    While it is not closed, calls in another one raise `ClientClosedError`.

    Error trackers show the local variables of an error's frames. Errors leave the client with empty
    frames, and so without the API key and key values. sentry-sdk and OpenTelemetry also record the
    URLs of aiohttp's sessions, and some contain key values. They don't see the client's own
    sessions. To keep them off one that you pass, call ``session.trace_configs.clear()`` first.

    Args:
        api_key: The API key. Default: ``$JUNKIE_API_KEY``. Keep it out of your source code. For
            keys that rotate, a function that returns it, or a coroutine function, of a vault for
            instance. It is called before the first request, and again when the service has answered
            401: then the call is sent once more, if there is another key. Calls at the same time
            ask once. They wait for a coroutine function up to their ``timeout`` and deadline; a
            plain function must not block. If it raises, the call raises `ConfigurationError`, whose
            ``__cause__`` is that error. So it should retry on its own.
        base_url: The service's URL. Default: ``$JUNKIE_BASE_URL``, or the service's own address.
            Plain ``http://`` is refused except to loopback, and to an emulator in a private
            network: a name without a dot, such as ``http://junkie:8000``, or a private address.
            Then the API key must begin with ``test-``, as no key of the service does.
        timeout: Seconds for one attempt, from connecting to the end of the response.
        retry: How often and how long failed calls are retried.
        max_in_flight: Maximum number of requests in flight, 1 to 10,000.
        rate_limit: The client's own rate limit, or None.
        throttle: A rate limit that several processes share, such as
            `junkie_async.redis.RedisThrottle`, or None.
        session: An `aiohttp.ClientSession` to use instead of the client's own. The client does not
            close it. Its middlewares run, and its own User-Agent is kept. It must have no
            credentials for the service, in ``auth=`` or in ``.netrc``. Calls are made in its event
            loop alone.
        proxy: The URL of an HTTP proxy (``http://`` or ``https://``) to reach the service through,
            or None. It may contain credentials, percent-encoded: ``http://user:p%40ss@host:3128``.
            A service on loopback or over plain ``http://`` is called directly.
        ssl: The path of a file with the CAs to trust (PEM), or an `ssl.SSLContext`, for the service
            and an ``https://`` proxy. A file replaces the system's CAs. To add to them, pass
            `ssl.create_default_context()` after its ``load_verify_locations(path)``.
        trust_env: Whether the proxy comes from the environment: ``$HTTPS_PROXY`` or ``$ALL_PROXY``,
            unless ``$NO_PROXY`` names the service's host. ``$SSL_CERT_FILE`` is checked, too. The
            environment is read now. ``proxy=`` and ``ssl=`` come first. ``.netrc`` is not read.
        app: Your program's name and version for the User-Agent, as in ``shop-bot/1.2``: up to 100
            letters, digits and ``-._~``. The service's operators see whose requests these are. It
            also replaces the User-Agent of a session that you pass.
        hooks: Receives each attempt, retry, pause and step of a job, and the loss of the shared
            throttle's store: an instance of `Hooks`, or a list of them.

    Raises:
        ConfigurationError: There is no API key, the base URL or the proxy's URL is not valid, the
            CA file can't be loaded, or a session has a proxy or TLS context beside it.
        InvalidRequestError: A number is out of its limits.
    """

    _is_view = False

    @error_boundary
    def __init__(
        self,
        api_key: APIKeySource | None = None,
        *,
        base_url: str | None = None,
        timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen, so that sharing does no harm
        max_in_flight: int = 16,
        rate_limit: RateLimit | None = None,
        throttle: SharedThrottle | None = None,
        session: aiohttp.ClientSession | None = None,
        proxy: str | None = None,
        ssl: SSLContext | str | os.PathLike[str] | None = None,
        trust_env: bool = False,
        app: str | None = None,
        hooks: Hooks | Sequence[Hooks] = (),
    ) -> None:
        # An empty argument is a mistake, such as an unset variable of a shell: `purge` must not go
        # to the public service then. An empty variable of the environment is one that is not set.
        given_key = os.environ.get("JUNKIE_API_KEY") if api_key is None else api_key
        given_url = base_url
        if given_url is None:
            given_url = os.environ.get("JUNKIE_BASE_URL") or BASE_URL
        self._base_url = _check_url(given_url, given_key)
        from_env = check_boolean("trust_env", trust_env)
        if session is not None:
            _refuse_beside_session(proxy=proxy, ssl=ssl, trust_env=trust_env)
        transport = Transport(
            base_url=self._base_url,
            timeout=check_seconds("timeout", timeout),
            session=_check_type("session", session, aiohttp.ClientSession, NoneType),
            proxy=choose_proxy(self._base_url, proxy, trust_env=from_env),
            tls_context=make_context(self._base_url, ssl, trust_env=from_env),
            app=_check_app(app),
        )
        self._dispatcher = Dispatcher(
            transport,
            api_key=given_key or "",
            key_source="api_key=" if api_key else "$JUNKIE_API_KEY",
            retry=_check_type("retry", retry, RetryPolicy),
            max_in_flight=max_in_flight,
            rate_limit=_check_type("rate_limit", rate_limit, RateLimit, NoneType),
            shared_throttle=_check_throttle(throttle),
            hooks=check_hooks(hooks),
        )
        self._ledgers = Ledgers(open_store)
        self._look_ups = LookUps(probe_after=self._dispatcher.shorten_wait(PROBE_AFTER))
        self._keys = Keys(self._dispatcher, self._ledgers, self._look_ups)
        # Now, not in the middle of a call: an import may fail there, and stalls the event loop.
        prepare_codec()
        prepare_redaction()
        with suppress(ConfigurationError):  # `create_many` raises it, if it is asked for a ledger
            load_sqlite()

    @error_boundary
    def with_options(
        self,
        *,
        timeout: float | Unset = UNSET,
        retry: RetryPolicy | Unset = UNSET,
        deadline: float | timedelta | Unset | None = UNSET,
        priority: Priority | Unset | None = UNSET,
    ) -> Self:
        """Make a view of the client whose calls have other options.

        ``await client.with_options(timeout=2, deadline=2).keys.verify(...)`` takes 2 s at most,
        also beside jobs that wait for minutes. A view shares everything else with its client:
        connections, throttle, learned rates, ledgers, the budget for retries, hooks and lifetime.
        It is cheap: make one for a single call, or keep it. Options that are left out are those of
        the client, or of the view, that it is made of.

        The client stays open when a view is closed: ``async with`` and `close` do nothing there. A
        view of a closed client is closed.

        Args:
            timeout: Seconds for one attempt.
            retry: How often and how long failed calls are retried. Pauses of the whole client, and
                their cap, remain those of its own policy.
            deadline: Seconds, or a `timedelta`, for each call with all its requests, waits and
                retries, or None: see `Keys.deadline`. A walk over a list has it for its first page,
                and jobs have none; ``retry.outage`` limits how long these wait for a service that
                is down. To end them after some time, use `asyncio.timeout`.
            priority: Whose turn comes first while the rate is limited: "interactive", "walk" or
                "job". With "job", calls and walks let all others go first, and calls wait for
                their turn without a limit, unless they have a deadline. None is "interactive" for
                single calls and "walk" for walks. Jobs are always "job".

        Raises:
            InvalidRequestError: An option is out of its limits.
        """
        dispatcher = self._dispatcher.with_options(
            retry=None if retry is UNSET else _check_type("retry", retry, RetryPolicy),
            timeout=None if timeout is UNSET else check_seconds("timeout", timeout),
        )
        keys = copy_calls(self._keys, dispatcher)
        if deadline is not UNSET:
            keys.deadline = deadline
        if priority is not UNSET:
            keys.priority = priority
        view = copy.copy(self)
        vars(view).update(_is_view=True, _dispatcher=dispatcher, _keys=keys)
        return view

    @error_boundary
    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: Any = None,
        idempotent: bool | None = None,
        secret: str | Iterable[str] = (),
    ) -> APIResponse:
        """Make a request that this package does not model, with all that other calls have.

        These are the API key, the throttle, retries, deadlines, redaction and hooks.
        ``await client.request("GET", "/services")`` returns the services;
        ``(await client.request("GET", f"/keys/{key.id}")).data`` has fields that `Key` lacks.

        Errors, hooks and logs name the path with its values left out, as in
        ``/services/{id}/providers``. They show no value of a field that is secret in other calls,
        such as ``key``, ``key_value`` and ``hwids``. Name other secrets in ``secret``.

        Args:
            method: GET, POST, PUT, PATCH or DELETE, in any case.
            path: The path below the base URL, such as ``/services``, of up to 4096 characters. It
                may have a query if there are no ``params``. Quote values that you put into it with
                ``urllib.parse.quote(value, safe="")``.
            params: The query: strings, numbers, bools, datetimes, or lists of them. None is left
                out.
            json: The body: dicts with string keys, lists, tuples, strings, finite numbers, bools,
                None, datetimes with a UTC offset, which are written in ISO 8601, and models such as
                `Key`. None for no body.
            idempotent: Whether the request may be sent again when its outcome is unknown. None is
                by method: GET, PUT and DELETE are idempotent, POST and PATCH are not.
            secret: What errors and logs must not show: the names of fields of ``params`` or
                ``json``, at any depth, or the values themselves.

        Returns:
            The response's status, headers and JSON.

        Raises:
            OutcomeUnknownError: A request that is not idempotent may have been carried out.
            InvalidResponseError: A 2xx has a body that is not JSON.
            APIError: The service refused it, as for other calls; also a 2xx that says so, by
                ``"success": false`` or an ``"error"``.
        """
        request = make_raw_request(
            method, path, params=params, json=json, idempotent=idempotent, secret=secret
        )
        with self._look_ups.changing_any(request.method, request.target):
            return await self._dispatcher.send(
                request,
                priority=self._keys.priority or "interactive",
                max_seconds=self._keys.deadline,
            )

    @property
    def keys(self) -> Keys:
        """The operations on keys."""
        return self._keys

    @property
    def base_url(self) -> str:
        """The service's URL, without a slash at the end."""
        return self._base_url

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._dispatcher.closed

    @error_boundary
    async def close(self) -> None:
        """Close the client's connections, and end waiting calls with `ClientClosedError`.

        May be called again, and in another event loop once that of the calls is closed. Does
        nothing for a view: see `with_options`.

        Raises:
            ClientClosedError: The calls run in another event loop, which is not closed.
        """
        if self._is_view:
            return
        await self._dispatcher.close()
        self._look_ups.clear()
        await self._ledgers.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_keys"):  # refused arguments: a traceback may show it all the same
            return "<JunkieClient, not initialized>"
        state = "closed" if self.closed else "open"
        return f"<JunkieClient {self._base_url} {state}>"


def _check_type(name: str, value: Any, *kinds: type) -> Any:
    if not isinstance(value, kinds):
        limit = " or ".join("None" if kind is NoneType else f"a {kind.__name__}" for kind in kinds)
        raise InvalidRequestError(name, safe_repr(value), limit)
    return value


def _check_throttle(value: Any) -> SharedThrottle | None:
    if value is not None and not isinstance(value, SharedThrottle):
        raise InvalidRequestError("throttle", safe_repr(value), "a RedisThrottle or None")
    return value


def _refuse_beside_session(**given: Any) -> None:
    for name, value in given.items():
        if value not in (None, False):
            raise ConfigurationError(
                f"{name}= can't be combined with session=: the session has its own proxy and TLS"
                " settings, so set them where you create it"
            )


def _check_app(value: Any) -> str | None:
    if value is None or (
        isinstance(value, str) and len(value) <= 100 and re.fullmatch(_APP, value, re.ASCII)
    ):
        return value
    limit = "a name, or name/version, of up to 100 letters, digits and -._~, such as shop-bot/1.2"
    raise InvalidRequestError("app", safe_repr(value), limit)


def _check_url(written: str, api_key: object) -> str:
    try:
        url = URL(written)
        (url.raw_host or "").encode("idna")  # fails for labels that are not 1 to 63 characters long
    except (ValueError, TypeError):  # UnicodeError is a ValueError
        url = None
    # yarl takes blanks for a part of a host.
    if not (url and url.scheme in ("http", "https") and url.host and " " not in url.host):
        raise ConfigurationError("the base URL must start with https:// or http:// and name a host")
    if url.user or url.password or url.query_string or url.fragment:
        raise ConfigurationError(
            "the base URL must not contain a user, password, query or fragment"
        )
    if url.scheme == "http" and not plain_http.is_allowed(url.host, api_key):
        message = f"plain http to {url.host} would expose the API key: use https"
        if plain_http.is_private(url.host):
            message += ". For `junkie serve`, use an API key that begins with test-"
        raise ConfigurationError(message)
    return str(url).rstrip("/")

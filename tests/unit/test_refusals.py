"""Answers with a 2xx that say of themselves that nothing was done, or that are another call's."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
import pytest
from aiohttp import web

from junkie_async import (
    APIError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    Keys,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    TransportError,
    VerdictReason,
)
from junkie_async._http.send_state import SendState
from junkie_async._http.transport import Response
from junkie_async._protocol import requests
from junkie_async.export import export_keys
from junkie_async.ext.problem_details import problem_details

from .clock import run
from .scripted import Script, make_dispatcher

CALLS: dict[str, Callable[[Keys], Awaitable[object]]] = {
    "list": lambda keys: keys.list(),
    "walk": lambda keys: keys.list().collect(),
    "count": lambda keys: keys.list().count(),
    "get": lambda keys: keys.get(5),
    "verify": lambda keys: keys.verify("JNK-1"),
    "create": lambda keys: keys.create(provider_id=1),
    "create_batch": lambda keys: keys.create_batch(provider_id=1, amount=2),
    "update": lambda keys: keys.update(5, key_name="x"),
    "invalidate": lambda keys: keys.invalidate(5),
    "delete": lambda keys: keys.delete(5),
    "bulk_delete": lambda keys: keys.bulk_delete([5]),
    "reset_hwid": lambda keys: keys.reset_hwid(5),
    "folders": lambda keys: keys.folders(),
}


def answer(body: object, status: int = 200) -> Response:
    """Make an answer."""
    return status, {}, msgspec.json.encode(body)


def outcome_of(call: Callable[[Keys], Awaitable[object]], *answers: Response) -> Any:
    """Make a call over a script; return its value, or the error that it raised."""
    results: list[Any] = []

    async def main() -> None:
        try:
            results.append(await call(Keys(make_dispatcher(Script(*answers)))))
        except JunkieError as error:
            results.append(error)

    run(main())
    return results[0]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("stated", [{"success": False}, {"ok": False}, {"success": "false"}])
def test_a_refusal_in_a_2xx(name: str, stated: dict[str, Any]) -> None:
    """It is an error with the service's words, and nothing was done."""
    refusal: dict[str, Any] = {**stated, "message": "Key is locked", "keys": []}
    error = outcome_of(CALLS[name], answer(refusal))
    assert type(error) is APIError
    assert (error.message, error.status, error.outcome) == (
        "Key is locked",
        200,
        Outcome.NOT_EXECUTED,
    )
    assert error.transient is False
    assert "locked" in error.body


@pytest.mark.parametrize("name", CALLS)
def test_an_error_in_a_2xx(name: str) -> None:
    """It does not say that nothing was done."""
    error = outcome_of(CALLS[name], answer({"error": "no way", "keys": [], "deleted": 0}))
    if isinstance(error, OutcomeUnknownError):
        assert name in {"create", "create_batch", "reset_hwid"}
        error = error.__cause__
    assert type(error) is APIError
    assert (error.message, error.outcome) == ("no way", Outcome.UNKNOWN)


@pytest.mark.parametrize(
    "body",
    [
        {"success": True, "error": "none"},
        {"ok": True, "error": "none"},
        {"error": None},
        {"error": ""},
        {"success": None, "error": False},
        {"success": {"what": "long" * 99}},
        {"ok": {"what": "long" * 99}, "error": "none"},
    ],
)
def test_no_refusal(body: dict[str, Any]) -> None:
    """A service may always have these members."""
    assert outcome_of(CALLS["update"], answer(body)).success is True
    assert outcome_of(CALLS["delete"], answer(body)) is None


def test_a_long_refusal() -> None:
    """It is one, however long its words are."""
    for name in ("update", "delete", "folders"):
        error = outcome_of(CALLS[name], answer({"error": "no " * 99, "folders": []}))
        assert type(error) is APIError
        assert error.message.startswith("no no")


def test_a_refusal_shows_no_secret() -> None:
    """It is masked like the words and headers of any other refusal."""
    refusal = b'{"success": false, "message": "JNK-0001-SECRET is locked"}'
    said: Response = (200, {"X-Locked": "JNK-0001-SECRET"}, refusal)
    error = outcome_of(lambda keys: keys.delete("JNK-0001-SECRET"), said)
    assert (error.message, error.headers) == ("*** is locked", {"x-locked": "***"})
    assert "SECRET" not in error.body


@pytest.mark.parametrize("body", ["", "OK", "<html></html>", "[]", "0", '"success"', "{"])
def test_a_deletion_takes_any_body(body: str) -> None:
    """The contract declares none."""
    assert outcome_of(CALLS["delete"], (200, {}, body.encode())) is None


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("create", {"key": {"id": 1, "key_value": ""}}),
        ("create_batch", {"keys": ["a", ""]}),
        ("list", {"keys": [{"id": 1, "key_value": ""}]}),
        ("bulk_delete", {"deleted": -1}),
    ],
)
def test_what_can_not_be(name: str, body: dict[str, Any]) -> None:
    """No key has an empty value, and no number of keys is negative."""
    error = outcome_of(CALLS[name], answer(body))
    assert isinstance(error, InvalidResponseError | OutcomeUnknownError)


@pytest.mark.parametrize("half", ["\\ud83d", "\\uDE00", "\\ud83d\\ud83d"])
def test_half_a_character_ends_no_walk(half: str) -> None:
    """JavaScript leaves one where it cuts a note amid an emoji."""
    body = f'{{"keys": [{{"id": 1, "key_value": "v", "key_name": "x{half}"}}]}}'
    page = outcome_of(CALLS["list"], (200, {}, body.encode()))
    assert page.keys[0].key_name == "x" + "\ufffd" * (len(half) // 6)


def test_a_null_is_no_key() -> None:
    """As a 404 is, also for web apps; a verdict still takes two requests."""
    error = outcome_of(CALLS["get"], answer({"key": None}))
    assert type(error) is NotFoundError
    error.path, error.attempts = "/keys/{keyId}", 1
    assert problem_details(error).status == 404
    verdict = outcome_of(CALLS["verify"], answer({"key": None}), answer({"keys": []}))
    assert verdict.reason is VerdictReason.NOT_FOUND


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "Bad Request", "message": "amount must be <= 100"}, "amount must be <= 100"),
        ({"error": "VALIDATION_ERROR", "message": "amount is 0"}, "amount is 0"),
        ({"error": "key is locked", "message": "Conflict"}, "key is locked"),
        ({"title": "Not Found", "detail": "no such folder"}, "no such folder"),
        ({"error": "Forbidden"}, "Forbidden"),
        ({"error": {"message": "no such key"}}, "no such key"),
    ],
)
def test_the_message_is_what_says_something(body: dict[str, Any], message: str) -> None:
    """A status's name says nothing."""
    assert outcome_of(CALLS["get"], answer(body, 400)).message == message


@pytest.mark.parametrize(
    "body",
    [
        {"key": {"id": 5, "key_value": "JNK-1"}},
        {"id": 5, "key_value": "JNK-1"},
        {"data": {"id": 5, "key_value": "JNK-1"}},
        {"data": {"key": {"id": 5, "key_value": "JNK-1"}}},
        {"key": {"id": "5", "key_value": "JNK-1"}, "success": True},
    ],
)
def test_wrappings_of_a_key(body: object) -> None:
    """Callers of this API guard against all of these."""
    assert outcome_of(CALLS["get"], answer(body)).key_value == "JNK-1"


@pytest.mark.parametrize(
    "wrap", [lambda rows: rows, lambda rows: {"data": rows}, lambda rows: {"data": {"keys": rows}}]
)
def test_wrappings_of_a_list(wrap: Callable[[list[Any]], object]) -> None:
    """Lists, too."""
    page = outcome_of(CALLS["list"], answer(wrap([{"id": 5, "key_value": "JNK-1"}])))
    assert [key.id for key in page.keys] == [5]


def test_integers_as_strings() -> None:
    """They are integers wherever the contract has some."""
    pagination = {"page": "1", "limit": "100", "total": "350", "totalPages": "4"}
    row = {"id": "7", "key_value": "v", "service_id": "5", "hwid_limit": "2"}
    page = outcome_of(CALLS["list"], answer({"keys": [row], "pagination": pagination}))
    assert (page.pagination.total, page.pagination.total_pages) == (350, 4)
    assert (page.keys[0].id, page.keys[0].service_id, page.keys[0].hwid_limit) == (7, 5, 2)
    batch = outcome_of(CALLS["create_batch"], answer({"keys": ["a", "b"], "count": "2"}))
    assert batch.count == 2
    deleted = outcome_of(CALLS["bulk_delete"], answer({"deleted": "3", "requested": "4"}))
    assert (deleted.deleted, deleted.requested) == (3, 4)


@pytest.mark.parametrize(
    ("written", "year"),
    [
        ("21039-03-31T10:39:00.000Z", 9999),
        ("+021039-03-31T10:39:00.000Z", 9999),
        ("9999-12-31T23:59:59-14:00", 9999),
        ("0000-00-00 00:00:00", None),
        ("infinity", None),
        ("", None),
        ("2016-12-31T23:59:60Z", None),
        ("-000001-01-01T00:00:00Z", None),
        (1767225600, None),
        (1767225600.5, None),
        ("2027-01-01 00:00:00", 2027),
    ],
)
def test_odd_dates(written: object, year: int | None) -> None:
    """One key with such a date must not end every walk over the shop."""
    row = {"id": 7, "key_value": "v", "expires_at": written, "hwids": [{"bound_at": written}]}
    page = outcome_of(CALLS["list"], answer({"keys": [row, {"id": 8, "key_value": "w"}]}))
    key, other = page.keys
    assert (key.expires_at and key.expires_at.year) == year
    assert (key.hwids[0].bound_at and key.hwids[0].bound_at.year) == year
    assert other.id == 8


# --- batches, and the answers of other calls ------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kept"),
    [
        (201, {"keys": ["a"]}, ("a",)),
        (201, {"keys": []}, ()),
        (201, {"keys": ["a", "a"]}, ("a",)),
        (207, {"keys": ["a"], "errors": [{"index": 1, "message": "no"}]}, ("a",)),
    ],
)
def test_a_batch_with_fewer_keys(status: int, body: dict[str, Any], kept: tuple[str, ...]) -> None:
    """The call says so, and its error has the keys that there are."""
    error = outcome_of(CALLS["create_batch"], answer(body, status))
    assert isinstance(error, OutcomeUnknownError)
    assert isinstance(error.__cause__, InvalidResponseError)
    assert error.__cause__.rows == kept


FOREIGN: dict[str, tuple[Callable[[Keys], Awaitable[object]], dict[str, Any]]] = {
    "get": (lambda keys: keys.get(5), {"id": 6, "key_value": "JNK-6"}),
    "get by value": (lambda keys: keys.get("JNK-5"), {"id": 6, "key_value": "JNK-6"}),
    "verify": (lambda keys: keys.verify("JNK-5"), {"id": 6, "key_value": "JNK-6"}),
    "create": (
        lambda keys: keys.create(provider_id=1, discord_id="1" * 18),
        {"id": 6, "key_value": "JNK-6", "discord_id": "2" * 18},
    ),
    "create, another provider": (
        lambda keys: keys.create(provider_id=1),
        {"id": 6, "key_value": "JNK-6", "provider_id": 2},
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_an_answer_about_another_key(name: str) -> None:
    """It is refused: nobody gets another customer's key, and no verdict comes of it."""
    call, key = FOREIGN[name]
    error = outcome_of(call, answer({"key": key}))
    if name.startswith("create"):
        assert isinstance(error, OutcomeUnknownError)
        error = error.__cause__
    assert isinstance(error, InvalidResponseError)
    assert (error.outcome, error.transient) == (Outcome.EXECUTED, False)


@pytest.mark.parametrize(
    ("sent", "config", "foreign"),
    [
        ("B", {"provider_id": 1, "key_name": "A jk-x.1"}, True),
        ("B", {"provider_id": "2"}, True),
        ("B", {"provider_id": "1", "key_name": "B", "amount": 5}, False),
        ("B", {"key_name": None}, False),
        ("B", {}, False),
        ("VIP  Gold ", {"key_name": "VIP Gold"}, False),
        ("VIP  Gold ", {"key_name": "vip  gold"}, False),
        ("VIP  Gold ", {"key_name": "VIP Silver"}, True),
        ("x" * 60, {"key_name": "X" * 50}, False),
        (" ", {"key_name": ""}, False),
    ],
)
def test_a_batch_that_echoes_another_config(
    sent: str, config: dict[str, Any], foreign: bool
) -> None:
    """Its keys are those of another call; a name that is written in another way is the same."""
    body = {"keys": ["K1", "K2"], "config": config}
    found = outcome_of(
        lambda keys: keys.create_batch(provider_id=1, amount=2, key_name=sent), answer(body, 201)
    )
    if foreign:
        assert isinstance(found, OutcomeUnknownError)
        assert isinstance(found.__cause__, InvalidResponseError)
        assert found.__cause__.rows == ("K1", "K2")
    else:
        assert found.keys == ("K1", "K2")


@pytest.mark.parametrize(
    ("echoed", "foreign"),
    [
        ("VIP jk-k3v9x2mq.1f", False),
        ("vip JK-K3V9X2MQ.1F ", False),
        ("jk-k3v9x2mq.1f", False),
        ("VIP jk-k3v9x2mq.1", True),
        ("VIP jk-k3v9x2mq.1f2", True),
        ("VIP", True),
    ],
)
def test_a_marker_tells_calls_apart(echoed: str, foreign: bool) -> None:
    """It must be whole, whatever became of the name before it. A job gets no key of another."""
    fields = {"provider_id": 1, "amount": 2, "key_name": "VIP  jk-k3v9x2mq.1f"}
    request = requests.create_batch(fields, marker="jk-k3v9x2mq.1f")
    body = msgspec.json.encode({"keys": ["K1", "K2"], "config": {"key_name": echoed}})
    if not foreign:
        assert request.read(body).keys == ("K1", "K2")
        return
    with pytest.raises(InvalidResponseError) as caught:
        request.read(body)
    assert caught.value.rows == ()


def test_a_service_may_write_a_value_in_another_case() -> None:
    """That is the same key for `get`; a verdict is about the exact value."""
    key = {"key": {"id": 6, "key_value": "jnk-5"}}
    assert outcome_of(lambda keys: keys.get("JNK-5 "), answer(key)).id == 6
    verdict = outcome_of(lambda keys: keys.verify("JNK-5"), answer(key))
    assert verdict.reason is VerdictReason.NOT_FOUND


async def test_the_connection_of_a_foreign_answer_is_closed() -> None:
    """What comes next over it may belong to another call, too."""
    transports: list[object] = []

    async def handle(request: web.Request) -> web.Response:
        transports.append(request.transport)
        return web.json_response({"key": {"id": 5, "key_value": "JNK-5"}})

    app = web.Application()
    app.router.add_get("/keys/{key}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        for given in None, session:
            transports.clear()
            async with JunkieClient("any", base_url=url, session=given) as junkie:
                await junkie.keys.get(5)
                with pytest.raises(InvalidResponseError):
                    await junkie.keys.get(6)
                await junkie.keys.get(5)
            first, foreign, last = transports
            assert first is foreign
            assert last is not foreign
    await runner.cleanup()


# --- rows that can't be read ----------------------------------------------------------------------

BAD_PAGE: dict[str, Any] = {
    "keys": [{"id": 1, "key_value": "a"}, {"id": 2, "key_value": "b", "hwid_limit": "many"}],
    "pagination": {"page": 1, "limit": 2, "total": 3, "totalPages": 2},
}
LAST_PAGE: dict[str, Any] = {
    "keys": [{"id": 3, "key_value": "c"}],
    "pagination": {"page": 2, "limit": 2, "total": 3, "totalPages": 2},
}


async def test_a_way_past_bad_rows(caplog: pytest.LogCaptureFixture) -> None:
    """The others are given; the page, the walk and the log tell what is missing."""
    script = Script(answer(BAD_PAGE), answer(LAST_PAGE), answer(BAD_PAGE))
    keys = Keys(make_dispatcher(script))
    walk = keys.list(limit=2, skip_bad_rows=True)
    pages = [page async for page in walk.pages()]
    assert [key.id for page in pages for key in page.keys] == [1, 3]
    assert [len(page.unreadable) for page in pages] == [1, 0]
    assert "keys[1].hwid_limit" in pages[0].unreadable[0]
    assert (walk.drift.unreadable, walk.drift.contradictions, bool(walk.drift)) == (1, 0, True)
    (line,) = caplog.messages
    assert "keys[1].hwid_limit" in line
    with pytest.raises(InvalidResponseError):
        await keys.list(limit=2).collect()


class _Shop(Script):
    """Loses the answer of its first batch, and then lists its keys with one bad row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []

    async def attempt(
        self, request: requests.Request[object], state: SendState, left: float
    ) -> Response:
        """Create, or list."""
        if request.method == "GET":
            stated = {"page": 1, "limit": 100, "total": len(self.rows), "totalPages": 1}
            return answer({"keys": self.rows, "pagination": stated})
        body = msgspec.json.decode(request.body or b"")
        self.rows = [
            {"id": number, "key_value": f"V{number}", "key_name": body["key_name"]}
            for number in range(body["amount"])
        ]
        self.rows[3]["hwid_limit"] = "many"
        raise TransportError("lost")


async def test_a_bad_row_does_not_end_a_ledgers_day(tmp_path: Path) -> None:
    """Settling needs a key's ID, value and name, and no more of it."""
    keys = Keys(make_dispatcher(_Shop()))
    job = keys.create_many(10, provider_id=1, ledger=tmp_path / "job.db", reconcile_after=0)
    report = await job
    assert report.created == 10
    assert {f"V{number}" for number in range(10)} == set(report.keys)


# --- lists that end before their total ------------------------------------------------------------


def _page(number: int, *ids: int, total: int | None = 6) -> Response:
    rows = [{"id": one, "key_value": f"V{one}"} for one in ids]
    stated = {"page": number, "limit": 2, "total": total, "totalPages": 3}
    return answer({"keys": rows} | ({} if total is None else {"pagination": stated}))


class _Pages(Script):
    """Gives the same pages as often as they are requested, and empty ones after the last."""

    def __init__(self, *pages: Response) -> None:
        super().__init__()
        self.pages = pages

    async def attempt(
        self, request: requests.Request[object], state: SendState, left: float
    ) -> Response:
        """Give the page of a number."""
        assert request.method == "GET"
        number = int(parse_qs(urlsplit(request.target).query)["page"][0])
        return self.pages[number - 1] if number <= len(self.pages) else _page(number)


SHORT_LISTS: dict[str, list[Response]] = {
    "a page that comes again": [_page(1, 1, 2), _page(2, 1, 2), _page(3, 5, 6)],
    "always the first page": [_page(1, 1, 2), _page(2, 1, 2), _page(3, 1, 2)],
    "a page without keys": [_page(1, 1, 2), _page(2, total=None), _page(3, 5, 6)],
    "nothing after the first page": [_page(1, 1, 2), *[_page(2, total=None)] * 20],
}


@pytest.mark.parametrize("name", SHORT_LISTS)
async def test_a_list_that_ends_before_its_total(name: str) -> None:
    """A plain walk tells of it; where a number is reported or a key deleted, it is an error."""
    keys = Keys(make_dispatcher(_Pages(*SHORT_LISTS[name])))
    pager = keys.list(limit=2)
    await pager.collect()
    assert pager.drift.contradictions > 0
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: keys.delete_many(keys.list(limit=2)),
        lambda: keys.list(limit=2, strict=True).collect(),
        lambda: export_keys(keys.list(limit=2), io.StringIO(), format="jsonl"),
    ]
    for call in calls:
        with pytest.raises(JunkieError) as caught:
            await call()
        assert isinstance(caught.value.__cause__ or caught.value, InvalidResponseError)


KEY_ROW = {"id": 1, "key_value": "A", "provider_id": 1}


@pytest.mark.parametrize("stated", [{"success": False}, {"ok": False}, {"error": "2 failed"}])
@pytest.mark.parametrize(
    ("name", "body", "rows"),
    [
        ("create_batch", {"keys": ["A"], "count": 1}, ("A",)),
        ("create_batch", {"keys": ["A", "B", "C"]}, ("A", "B", "C")),
        ("create_batch", {"keys": [KEY_ROW, None]}, ("A",)),
        ("create_batch", {"keys": ["", "B"]}, ("B",)),
        ("create_batch", {"keys": [None]}, ()),
        ("create", {"key": KEY_ROW}, ("A",)),
        ("create", {"data": KEY_ROW}, ("A",)),
        ("create", {"key": {"id": 1}}, ()),
    ],
)
def test_a_refusal_that_has_keys(
    name: str, body: dict[str, Any], rows: tuple[str, ...], stated: dict[str, Any]
) -> None:
    """The keys were created: the outcome is unknown, and the error has those that are readable."""
    error = outcome_of(CALLS[name], answer({**body, **stated, "message": "2 failed"}, 207))
    assert type(error) is OutcomeUnknownError
    cause = error.__cause__
    assert isinstance(cause, InvalidResponseError)
    assert (cause.rows, cause.status, cause.outcome) == (rows, 207, Outcome.UNKNOWN)
    assert error.outcome is Outcome.UNKNOWN
    assert error.message.endswith("2 failed")


@pytest.mark.parametrize("deleted", [3, "3"])
def test_a_refusal_that_has_deleted_keys(deleted: object) -> None:
    """It does not say that nothing was done."""
    body = {"success": False, "error": "2 keys are locked", "deleted": deleted}
    error = outcome_of(lambda keys: keys.bulk_delete([1, 2, 3, 4, 5]), answer(body, 207))
    assert (type(error), error.message, error.outcome) == (
        APIError,
        "2 keys are locked",
        Outcome.UNKNOWN,
    )

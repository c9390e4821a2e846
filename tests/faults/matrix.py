"""The fault table as data: each fault, and its result for both kinds of call.

`test_matrix` crosses it with all operations.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import attrs

from junkie_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InvalidResponseError,
    JunkieError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TransportError,
)

from . import faults as f
from .operations import Operation
from .server import Fault, http

MAYBE, NO, DONE = Outcome.UNKNOWN, Outcome.NOT_EXECUTED, Outcome.EXECUTED


@attrs.frozen
class Verdict:
    """The result of a call that meets a fault.

    Attributes:
        error: The error's class; None when the response is good.
        outcome: The error's outcome.
        tries: How many requests meet the fault before the call fails: 1 is a call that is not
            retried, 3 one that uses up its attempts.
    """

    error: type[JunkieError] | None = None
    outcome: Outcome = NO
    tries: int = 1


GOOD = Verdict()


@attrs.frozen
class Row:
    """One fault, and its result for each kind of call.

    Attributes:
        name: The fault's name.
        fault: The fault.
        idempotent: The result of an idempotent call.
        non_idempotent: The result of a call that must not be repeated.
        delete: The result of DELETE, which reads no body. Default: ``idempotent``.
        says: The error's attributes.
        bare: Whether the response is good, but lacks all optional fields.
    """

    name: str
    fault: Fault
    idempotent: Verdict
    non_idempotent: Verdict
    delete: Verdict | None = None
    says: dict[str, Any] = attrs.field(factory=dict)
    bare: bool = False

    def verdict(self, operation: Operation) -> Verdict:
        """Return the expected result for an operation."""
        if operation.name == "delete" and self.delete is not None:
            return self.delete
        return self.idempotent if operation.idempotent else self.non_idempotent


def _lost(name: str, fault: Fault) -> Row:
    """No complete response: retried if the call is idempotent."""
    verdict = Verdict(TransportError, MAYBE, 3)
    return Row(name, fault, verdict, attrs.evolve(verdict, tries=1), says={"transient": True})


def _failed(status: int, *, name: str = "", **headers: str) -> Row:
    """The service or a gateway failed: it may have acted before."""
    verdict = Verdict(ServerError, MAYBE, 3)
    return Row(
        name or str(status),
        f.answers(status, **headers),
        verdict,
        attrs.evolve(verdict, tries=1),
        says={"status": status, "message": "not like this", "challenge": False},
    )


def _later(name: str, status: int = 429, **headers: str) -> Row:
    """Refused for now, so every call waits and is retried."""
    verdict = Verdict(ServerError if status == 503 else RateLimitError, NO, 3)
    return Row(name, f.answers(status, **headers), verdict, verdict, says={"status": status})


def _much_later(name: str, seconds: float, status: int = 429, **headers: str) -> Row:
    """A wait beyond the cap raises immediately."""
    verdict = Verdict(RateLimitError if status == 429 else ServerError, NO)
    says = {"status": status, "retry_after": seconds}
    return Row(name, f.answers(status, **headers), verdict, verdict, says=says)


def _unreached(status: int) -> Row:
    """The CDN did not reach the service: every call is retried."""
    verdict = Verdict(ServerError, NO, 3)
    says = {"status": status, "message": "not like this", "challenge": False}
    return Row(str(status), f.answers(status), verdict, verdict, says=says)


def _refused(name: str, fault: Fault, cls: type[APIError], **says: Any) -> Row:
    """The service, or a gateway in front of it, refuses."""
    return Row(name, fault, Verdict(cls, NO), Verdict(cls, NO), says=says)


def _garbled(name: str, fault: Fault, *, body: bool = True) -> Row:
    """A 2xx that may be an accident: one retry. ``body``: only the body is wrong."""
    verdict = Verdict(InvalidResponseError, MAYBE, 2)
    not_retried = attrs.evolve(verdict, tries=1)
    says = {"transient": True, "row": None}
    return Row(name, fault, verdict, not_retried, delete=GOOD if body else None, says=says)


def _unusable(name: str, fault: Fault, outcome: Outcome, *, body: bool = True, **says: Any) -> Row:
    """A 2xx that a retry would not change."""
    verdict = Verdict(InvalidResponseError, outcome)
    says |= {"transient": False}
    return Row(name, fault, verdict, verdict, delete=GOOD if body else None, says=says)


def _good(name: str, fault: Fault, *, bare: bool = False) -> Row:
    """Unusual, but good."""
    return Row(name, fault, GOOD, GOOD, bare=bare)


def _cut(body: bytes) -> bytes:
    return gzip.compress(body)[:-5]


def _bad_crc(body: bytes) -> bytes:
    packed = bytearray(gzip.compress(body))
    packed[-8] ^= 0xFF
    return bytes(packed)


def cloudflare(code: int, **members: Any) -> bytes:
    """Write a problem document of Cloudflare's."""
    return json.dumps({"title": f"Error {code}", "error_code": code} | members).encode()


HTML = {"content_type": "text/html; charset=utf-8"}
GZIP = {"content_encoding": "gzip"}
# A server whose clock is 73 years ahead: by the local clock these waits are beyond any cap.
AHEAD = "Thu, 01 Jan 2099 00:00:00 GMT"
AHEAD_3_MINUTES = "Thu, 01 Jan 2099 00:03:00 GMT"

LOST = [
    _lost("closed_unread", f.closes_unread),
    _lost("reset_unread", f.resets_unread),
    _lost("closed_after_reading", f.drops),
    _lost("reset_after_reading", f.ends(commits=False, reset=True)),
    _lost("closed_after_commit", f.commits_and_drops),
    _lost("reset_after_commit", f.commits_and_resets),
    _lost("closed_in_head", f.ends(f.half_a_head)),
    _lost("reset_in_head", f.ends(f.half_a_head, reset=True)),
    _lost("closed_after_head", f.ends(f.head_only)),
    _lost("reset_after_head", f.ends(f.head_only, reset=True)),
    _lost("closed_in_body", f.ends(f.half_a_body)),
    _lost("reset_in_body", f.ends(f.half_a_body, reset=True)),
    _lost("closed_in_chunks", f.ends(lambda exchange: f.chunked(exchange, end=b""))),
    _lost("closed_in_last_chunk", f.ends(lambda exchange: f.chunked(exchange, end=b"0\r\n"))),
    _lost(
        "closed_in_gzip",
        f.ends(lambda x: http(200, gzip.compress(x.answer.body), **GZIP)[:-5]),
    ),
    _lost("bad_chunk", f.commits_but_sends(lambda exchange: f.chunked(exchange, end=b"zz\r\n"))),
    _lost("not_http", f.commits_but_sends(lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n")),
    _lost("bad_length", f.commits_but_says(b"{}", content_length="2x")),
    _lost("huge_header", f.commits_but_says(b"{}", x_huge="x" * 70_000)),
]
FAILED = [
    *map(_failed, (500, 502, 503, 504, 520, 522, 524)),
    *map(_unreached, (521, 523, 525, 526, 530)),
    _refused("501", f.answers(501), ServerError, status=501),
    *(_failed(status, name=f"{status}_wait", retry_after="0") for status in (500, 502, 504, 520)),
    _failed(503, name="503_garbage_wait", retry_after="soon"),
    attrs.evolve(
        _failed(502, name="502_html"),
        fault=f.answers(502, f.HTML, **HTML),
        says={"status": 502, "challenge": False, "message": "a gateway answered with an HTML page"},
    ),
]
LATER = [
    _later("429_seconds", retry_after="0"),
    _later("429_date", retry_after=AHEAD, date=AHEAD),
    _later("429_past_date", retry_after=AHEAD, date=AHEAD_3_MINUTES),
    _later("429_missing"),
    _later("429_negative", retry_after="-5"),
    _later("429_garbage", retry_after="soon"),
    _later("429_empty", retry_after=""),
    _later("403_seconds", 403, retry_after="0"),
    attrs.evolve(_later("403_words", 403), fault=f.answers(403, b'{"error": "rate limit"}')),
    attrs.evolve(_later("403_1015", 403), fault=f.answers(403, b"error code: 1015")),
    attrs.evolve(_later("429_1015"), fault=f.answers(429, cloudflare(1015, retry_after=0))),
    _later("503_seconds", 503, retry_after="0"),
    _later("503_date", 503, retry_after=AHEAD, date=AHEAD),
]
MUCH_LATER = [
    _much_later("429_beyond_cap", 121.0, retry_after="121"),
    _much_later("429_far_beyond_cap", 1e12, retry_after=f"{10**12}"),
    _much_later("429_date_beyond_cap", 180.0, retry_after=AHEAD_3_MINUTES, date=AHEAD),
    _much_later("503_beyond_cap", 121.0, 503, retry_after="121"),
]
REFUSED = [
    *(
        _refused(str(status), f.answers(status), cls, status=status, message="not like this")
        for status, cls in {
            400: BadRequestError,
            401: AuthenticationError,
            403: PermissionDeniedError,
            404: NotFoundError,
            405: APIError,
            409: ConflictError,
            410: APIError,
            422: BadRequestError,
        }.items()
    ),
    _refused("403_html", f.answers(403, f.HTML, **HTML), PermissionDeniedError, challenge=True),
    _refused("429_html", f.answers(429, f.HTML, **HTML), RateLimitError, challenge=True),
    _refused(
        "403_html_wait",
        f.answers(403, f.HTML, retry_after="0", **HTML),
        RateLimitError,
        challenge=True,
    ),
    *(
        _refused(f"403_{name}", fault, PermissionDeniedError, challenge=True)
        for name, fault in {
            "1010": f.answers(403, cloudflare(1010)),
            "1020": f.answers(403, cloudflare(1020)),
            "1006_text": f.answers(403, b"error code: 1006"),
            "mitigated": f.answers(403, cf_mitigated="challenge"),
        }.items()
    ),
    _refused("404_html", f.answers(404, f.HTML, **HTML), NotFoundError, challenge=False),
    _refused("409_not_gzip", f.answers(409, b"{}", **GZIP), ConflictError, status=409),
    _refused("400_huge", f.answers(400, b" " * f.TOO_LARGE), BadRequestError, status=400),
]
GARBLED = [
    _garbled("html", f.commits_but_says(f.HTML, **HTML)),
    _garbled("html_called_json", f.commits_but_says(f.HTML)),
    _garbled("cut_json", f.commits_and_recodes(lambda body: body[:-3])),
    _garbled("not_utf8", f.commits_and_recodes(lambda body: body[:-1] + b"\xff")),
    _garbled("no_body", f.commits_but_says(b"")),
    _garbled("cut_gzip", f.commits_and_recodes(_cut, **GZIP), body=False),
    _garbled("bad_crc", f.commits_and_recodes(_bad_crc, **GZIP), body=False),
    _garbled("not_gzip", f.commits_and_recodes(bytes, **GZIP), body=False),
    _garbled(
        "cut_member",
        f.commits_and_recodes(lambda body: f.members(body)[:-5], **GZIP),
        body=False,
    ),
    _garbled("empty_gzip", f.commits_but_says(b"", **GZIP)),
]
UNUSABLE = [
    _unusable("wrong_shape", f.commits_but_says(b"[1, 2]"), DONE),
    _unusable("wrong_field", f.wrong_field, DONE),
    _unusable("body_over_cap", f.says_much, MAYBE, body=False),
    _unusable("endless_body", f.says_endlessly, MAYBE, body=False),
    _unusable("gzip_bomb", f.bomb, MAYBE, body=False),
    _unusable("bomb_of_members", f.bomb_of_members, MAYBE, body=False),
    _unusable(
        "unknown_coding", f.commits_but_says(b"{}", content_encoding="br"), MAYBE, body=False
    ),
]
ACCEPTED = [
    _good("wrong_content_type", f.commits_and_recodes(bytes, content_type="text/html")),
    _good("no_content_type", f.commits_and_recodes(bytes, content_type="")),
    _good("unknown_fields", f.commits_and_changes(f.with_unknown_fields)),
    _good("missing_fields", f.commits_and_changes(f.without_optional_fields), bare=True),
    _good("gzip", f.commits_and_recodes(gzip.compress, **GZIP)),
    _good("gzip_in_capitals", f.commits_and_recodes(gzip.compress, content_encoding=" GZIP ")),
    _good("gzip_of_members", f.commits_and_recodes(f.members, **GZIP)),
    _good("x_gzip", f.commits_and_recodes(gzip.compress, content_encoding="x-gzip")),
    _good(
        "gzip_and_identity",
        f.commits_and_recodes(gzip.compress, content_encoding="gzip, identity"),
    ),
    _good("utf_8", f.commits_and_recodes(bytes, content_encoding="UTF-8")),
    _good("byte_order_mark", f.commits_and_recodes(lambda body: b"\xef\xbb\xbf" + body)),
    _good("identity", f.commits_and_recodes(bytes, content_encoding="identity")),
    _good("chunked", f.commits_but_sends(f.chunked)),
    _good("early_hints", f.commits_but_sends(lambda x: b"HTTP/1.1 103 Wait\r\n\r\n" + f.good(x))),
    _good("closes_politely", f.commits_and_recodes(bytes, connection="close")),
    _good(
        "ends_by_closing",
        f.ends(lambda x: b"HTTP/1.0 200 OK\r\n\r\n" + x.answer.body),
    ),
]
ROWS = [
    *LOST,
    *FAILED,
    *LATER,
    *MUCH_LATER,
    *REFUSED,
    *GARBLED,
    *UNUSABLE,
    *ACCEPTED,
]

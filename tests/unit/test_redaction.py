"""Key values and the API key that a response repeats are redacted, and nothing else."""

from __future__ import annotations

import html
import json
from urllib.parse import quote

import pytest

from junkie_async import APIError, BadRequestError, InvalidResponseError, TransportError
from junkie_async._protocol import requests
from junkie_async._protocol.redaction import redact

VALUE = 'JNK-"é😀/<&>' + "-%"
FORMS = [
    VALUE,
    quote(VALUE),
    quote(VALUE, safe=""),
    quote(VALUE, safe="").lower(),
    json.dumps(VALUE)[1:-1],
    json.dumps(VALUE, ensure_ascii=False)[1:-1],
    html.escape(VALUE),
]
CALLS = [
    requests.get_key(requests.segment(VALUE)),
    requests.reset_hwid(requests.segment(VALUE)),
    requests.list_keys(f"key={quote(VALUE)}", 1, 100),
    requests.list_keys(f"status=active&hwid={quote(VALUE)}", 1, 100),
    requests.bulk_delete([5, VALUE, "other"]),
    requests.create_key({"provider_id": 1, "hwid": VALUE}),
    requests.create_batch({"provider_id": 1, "key_name": VALUE}),
    requests.update_key("7", {"hwids": ["other", VALUE]}),
]


def refusal(text: str) -> APIError:
    """Make an error with all that a response can repeat."""
    return BadRequestError(
        f"no {text} here", status=400, body=f'{{"error": "{text}"}}', headers={"x-echo": text}
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}")
def test_key_values_are_masked_in_every_form(call: requests.Request[object], form: str) -> None:
    """Message, body and headers lose the value, and keep the words around it."""
    error = refusal(form)
    redact(call, error, "api-key")
    assert error.message == "no *** here"
    assert error.body == '{"error": "***"}'
    assert error.headers == {"x-echo": "***"}


def test_the_api_key_is_masked_for_every_call() -> None:
    """It is never in the request's target, but a server may repeat a header."""
    error = refusal("Bearer api-key")
    redact(requests.list_folders(), error, "api-key")
    assert "api-key" not in f"{error} {error.body} {error.headers}"
    assert "Bearer ***" in error.message


def test_words_that_only_contain_a_short_value_stay() -> None:
    """A value of a letter or three is masked where it stands alone."""
    error = BadRequestError("a bad key: a", status=400)
    redact(requests.get_key("a"), error, "api-key")
    assert error.message == "*** bad key: ***"


def test_ids_stay() -> None:
    """An ID is no secret, and the field that is wrong must be readable."""
    error = InvalidResponseError("keys[12].created_at must be a string")
    redact(requests.bulk_delete([12, 3]), error, "api-key")
    assert error.message == "keys[12].created_at must be a string"


def test_words_of_our_own_stay() -> None:
    """An error that repeats no response is left alone."""
    error = TransportError("the connection was lost")
    redact(requests.get_key("lost"), error, "connection")
    assert error.message == "the connection was lost"


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.path)
def test_a_calls_repr_names_its_template_alone(call: requests.Request[object]) -> None:
    """Wherever a call is shown, its target and body are not."""
    assert call.path in repr(call)
    assert not any(form in repr(call) for form in [*FORMS, "JNK", "other"])


def test_messages_are_cut_when_they_are_masked() -> None:
    """200 characters are enough; and a secret that is cut in two would not be found."""
    error = BadRequestError("x " * 95 + VALUE + " y" * 500, status=400)
    redact(CALLS[0], error, "api-key")
    assert error.message == ("x " * 95 + "***" + " y" * 500)[:200]


def test_words_of_a_value_are_masked_by_themselves() -> None:
    """However often a response quotes a value, its letters and digits are recognised."""
    error = refusal(quote(quote("JNK/SECRET77/x")).upper())
    redact(requests.get_key(requests.segment("JNK/SECRET77/x")), error, "api-key")
    assert "SECRET77" not in f"{error} {error.body} {error.headers}"

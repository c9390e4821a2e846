"""The secrets of a call are masked wherever a response repeats them, and nothing else is."""

from __future__ import annotations

import html
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_type_hints
from urllib.parse import quote

import pytest
from multidict import CIMultiDict

from junkie_async import APIError, InvalidResponseError
from junkie_async._protocol import fields, requests, responses
from junkie_async._protocol.redaction import Redactor, find_secrets

from ..cpu_time import run_within
from .conftest import CONTRACT

API_KEY = "0b3e8c1e-1111-4222-8333-444455556666"
KEY = "JNK-0029800-df530f87-7294-4670-af2a-c264aa93a79d"
ODD = 'ПК-"é😀/<&>' + "\\bob-%"  # a name of a device with all that is escaped
JSON = CIMultiDict({"Content-Type": "application/json"})


def refuse(call: requests.Request[Any], body: bytes, **headers: str) -> APIError:
    """Read the response of a refused call."""
    error = responses.read_failure(call, 400, CIMultiDict({**JSON, **headers}), body, API_KEY)
    assert isinstance(error, APIError)
    return error


def as_page(text: str) -> str:
    """Escape each character that is not a letter or digit, as some templates do."""
    return "".join(one if one.isalnum() else f"&#{ord(one)};" for one in text)


# --- what is secret -------------------------------------------------------------------------------


def contract_texts() -> Iterator[tuple[str, str]]:
    """Yield the fields of all requests of the contract that hold text: where and which."""
    for path, operations in CONTRACT["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            schemas = content.get("application/json", {}).get("schema", {}).get("properties", {})
            schemas |= {
                parameter["name"]: parameter["schema"]
                for parameter in operation.get("parameters", ())
                if parameter["in"] == "query"
            }
            for name, schema in schemas.items():
                if "date-time" not in json.dumps(schema) and "string" in json.dumps(schema):
                    yield f"{method} {path}", name


def test_texts_are_secret_or_public() -> None:
    """Each field of a request that holds text says whether errors may show it."""
    decided = {
        name
        for declaration in fields.REQUESTS
        for name, hint in get_type_hints(declaration, include_extras=True).items()
        if get_args(hint)[3:] in ((fields.SECRET,), (fields.PUBLIC,))
    }
    assert {name for _, name in contract_texts()} <= decided
    for declaration in fields.REQUESTS:
        hints = get_type_hints(declaration, include_extras=True)
        texts = {name for name, hint in hints.items() if "str" in repr(get_args(hint)[0])}
        assert texts <= decided, f"{declaration.__name__}: mark them as SECRET or PUBLIC"
    assert fields.secret_fields() == {"key", "keys", "hwid", "hwids"}


@pytest.mark.parametrize(
    ("call", "secrets"),
    [
        (requests.get_key(requests.segment(KEY)), {KEY}),
        (requests.get_key("7"), set()),
        (requests.reset_hwid(requests.segment(ODD)), {ODD}),
        (requests.list_keys(f"status=active&key={quote(ODD)}&hwid=a", 1, 100), {ODD, "a"}),
        (requests.bulk_delete([5, KEY, "other"]), {KEY, "other"}),
        (requests.create_key({"key_name": "note", "hwid": "a", "hwids": [ODD]}), {"a", ODD}),
        (requests.create_batch({"amount": 1, "hwid": "a", "discord_id": "1" * 18}), {"a"}),
        (requests.update_key("7", {"hwids": ["a", KEY], "hwid_limit": 3}), {"a", KEY}),
        (requests.list_folders(), set()),
        (requests.list_keys("status=active", 1, 100, (ODD,)), {ODD}),
    ],
    ids=lambda value: getattr(value, "target", None),
)
def test_secrets_of_a_call(call: requests.Request[Any], secrets: set[str]) -> None:
    """They are the key values and devices: not IDs, notes or Discord users."""
    assert set(find_secrets(call)) == secrets


@pytest.mark.parametrize(
    "call",
    [
        requests.get_key(requests.segment(KEY)),
        requests.list_keys(f"key={quote(KEY)}", 1, 100),
        requests.bulk_delete([KEY]),
    ],
)
def test_a_calls_repr_names_its_template_alone(call: requests.Request[object]) -> None:
    """Wherever a call is shown, its target and body are not."""
    assert call.path in repr(call)
    assert "JNK" not in repr(call)


@pytest.mark.parametrize(
    ("secret", "said", "shown"),
    [
        ("{4c4c4544-0042}", "of {4c4c4544-0042}, no", "of ***, no"),
        ("{4c4c4544-0042}", "of 4c4c4544-0042, no", "of ***, no"),
        ("{4c4c4544-0042}", "of {{4C4C4544_0042}}, no", "of {***}, no"),
        ("((4c4c4544-0042))", "((4c4c4544-0042))", "***"),
        ("((4c4c4544-0042))", "(4c4c4544-0042)", "(***)"),
    ],
)
def test_the_symbols_around_a_secret(secret: str, said: str, shown: str) -> None:
    """What a secret begins and ends with is masked with it, where the text has that."""
    assert Redactor([secret])(said, 100) == shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("of ABCD-EFGH... is", "of ***... is"),
        ("of ABCD-E… is", "of ***… is"),
        ("of abcd .. is", "of *** .. is"),
        ("of ABCD..EFGH is", "of ***..EFGH is"),
        ("of ABC... is", "of ABC... is"),
        ("of xABCD... is", "of xABCD... is"),
        ("of ABCD. is", "of ABCD. is"),
    ],
)
def test_a_secret_that_is_cut_short(said: str, shown: str) -> None:
    """Four of its letters and dots are taken for it; the dots, and what follows, are not its."""
    assert Redactor(["ABCD-EFGH-IJKL", "ABCE"])(said, 100) == shown


@pytest.mark.parametrize(
    ("secrets", "said", "shown"),
    [
        # A short one is a word of its own, and a long one may be within a word.
        (["ABCD-EFGH-IJKL"], "xABCD-EFGH-IJKLx", "x***x"),
        (["ABCD-EFGH-IJK"], "xABCD-EFGH-IJKx", "xABCD-EFGH-IJKx"),
        (["ABCDEF"], r"x\nABCDEF\ty", r"x\n***\ty"),
        (["ABCDEF"], "x%0AABCDEF&nbsp;y", "x%0A***&nbsp;y"),
        # Its letters may be twice as far apart, and never where it has them side by side.
        (["ABCD-EFGH-IJKL"], "of ABCD--EFGH--IJKL", "of ***"),
        (["ABCD-EFGH-IJKL"], "of ABCD---EFGH---IJKL", "of ABCD---EFGH---IJKL"),
        (["ABCDEFGHIJKL"], "of A-BCDEFGHIJKL", "of A-BCDEFGHIJKL"),
        (["ABCD..EFGH..IJKL"], "of ABCD..EFGH..IJKL", "of ***"),
        # In letters of which some have two in lower case, or in another encoding.
        (["ABCD-EFGH-IJKL"], "İİİ ABCD-EFGH-IJKL!", "İİİ ***!"),
        (["Schlüssel-01234"], "of Schl\u00c3\u00bcssel-01234!", "of ***!"),
        (["Schlüssel-01234"], "of Schl?ssel-01234!", "of ***!"),
        # The longest one that fits.
        (["ABCDEFGHIJKLM", "ABCD-EFGH-IJKL"], "of ABCD-EFGH-IJKL-M", "of ***-M"),
        (["ABCD-EFGH-IJKL-M", "ABCD-EFGH-IJKL"], "of ABCD-EFGH-IJKL-M", "of ***"),
    ],
)
def test_where_a_secret_is(secrets: list[str], said: str, shown: str) -> None:
    """By its letters, and by how far apart they are."""
    assert Redactor(secrets)(said, 100) == shown


@pytest.mark.parametrize(("letters", "kept"), [(64, 2), (65, 67)])
def test_the_last_word_of_what_is_cut(letters: int, kept: int) -> None:
    """It may be half an escape, and is dropped; a longer one is a text without words."""
    said = "a " + "b" * 100
    assert Redactor([])(said, 2 + letters) == said[:kept]


# --- forms ----------------------------------------------------------------------------------------

FORMS: list[Callable[[str], str]] = [
    str,
    str.lower,
    str.upper,
    quote,
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="").lower(),
    lambda text: quote(quote(text, safe=""), safe="").upper(),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: json.dumps(json.dumps(text))[3:-3],
    lambda text: json.dumps(text)[1:-1].replace("-", "\\u002d").replace("/", "\\/"),
    html.escape,
    as_page,
    lambda text: as_page(as_page(text)),
    lambda text: html.escape(json.dumps(text)[1:-1]),
    lambda text: quote(html.escape(json.dumps(text)[1:-1])),
    lambda text: text.replace("-", "&#x2d;"),
    lambda text: text.replace("-", "&ndash;"),
    lambda text: text.replace("-", "%2D"),
    lambda text: text.replace("-", " "),
    lambda text: text.replace("-", "_"),
    lambda text: text.replace("-", "\u2011"),
    lambda text: text.replace("-", ""),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [KEY, API_KEY, "PC-1", "ключ-1"])
def test_every_form_is_masked(form: Callable[[str], str], secret: str) -> None:
    """Whole, whatever a server escapes, in any case, and the words around it stay."""
    assert Redactor([secret])(f"no '{form(secret)}' here", 1000) == "no '***' here"


@pytest.mark.parametrize("form", FORMS[:16])
def test_symbols_and_other_scripts_are_masked(form: Callable[[str], str]) -> None:
    """A name with symbols at its ends, and with what looks like an escape, goes whole."""
    assert Redactor([ODD])(f"no {form(ODD)} here", 1000) == "no *** here"


@pytest.mark.parametrize(
    "dots", ["...", "..", "…", "-...", "&hellip;", "\\u2026", "%E2%80%A6", "'…"]
)
@pytest.mark.parametrize("shown", [4, 9, 11, 20, 40])
def test_a_shortened_value_is_masked(dots: str, shown: int) -> None:
    """Dots say that a word is the beginning of a value, be it four letters."""
    masked = Redactor([KEY])(f"no {KEY[: shown + 1]}{dots} does", 1000)
    assert "JNK" not in masked
    assert masked.startswith("no ***")
    assert masked.endswith(" does")


def test_the_whole_error_is_masked() -> None:
    """The message, the body, the headers' values and their names."""
    said = f"no {KEY} for Bearer {API_KEY}"
    body = json.dumps({"error": said, "request": {"key": as_page(KEY)}}).encode()
    call = requests.get_key(requests.segment(KEY))
    error = refuse(call, body, **{"X-Echo": quote(said), f"X-{KEY}": "1"})
    assert error.message == "no *** for Bearer ***"
    assert error.body == '{"error": "no *** for Bearer ***", "request": {"key": "***"}}'
    assert error.headers["x-echo"] == "no%20***%20for%20Bearer%20***"
    assert error.headers["x-***"] == "1"


# --- what stays -----------------------------------------------------------------------------------


def test_the_services_words_stay() -> None:
    """A note is no secret: the ID that does not exist can be read."""
    call = requests.create_key({"provider_id": 42, "key_name": "provider launch"})
    error = refuse(call, b'{"error": "provider 42 does not exist"}')
    assert error.message == "provider 42 does not exist"


def test_our_own_words_stay() -> None:
    """What is wrong with a field of a response can be read, whatever was looked for."""
    call = requests.list_keys("key=created", 1, 100)
    body = b'{"keys": [{"id": 1, "key_value": "v", "created_at": []}]}'
    with pytest.raises(InvalidResponseError) as caught:
        responses.read_success(call, 200, JSON, body)
    assert caught.value.message.startswith("keys[0].created_at must be an RFC 3339 date-time")


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("provider42", "provider 42 does not exist"),
        ("keys-1234", "there are no such keys"),
        ("PC", "PCs and pcx"),
        ("a", "an apple"),
        ("-", "well-known"),
        ("...", "wait..."),
        ("JNK-1", "JNK-12, JNK1x"),
        ("JNK-11", "JNK is 11"),
        (KEY, "JNK-0029801-df530f87-7294-4670-af2a-c264aa93a79d"),
        (KEY, "JNK-0029800"),
    ],
)
def test_other_words_stay(secret: str, text: str) -> None:
    """A value is masked whole: not as a part of a word, nor by words that share its beginning."""
    assert Redactor([secret])(text, 1000) == text


def test_a_long_value_is_found_within_a_word() -> None:
    """No word contains one by chance."""
    assert Redactor([KEY])(f"key{KEY}s", 1000) == "key***s"


def test_many_values_of_the_same_beginning() -> None:
    """The thousand keys of a bulk delete are told apart, even if one begins another."""
    values = [*(f"JNK-{number}" for number in range(1000)), "JNK", "JNK-1-1"]
    redact = Redactor(values)
    assert redact("JNK-7, JNK-77, JNK-1000, JNK-1-1, JNK 999, JNK-1-x, JNK", 1000) == (
        "***, ***, ***-1000, ***, ***, ***-x, ***"
    )


# --- lengths and time -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS[:13])
def test_a_value_cut_by_us_is_masked(form: Callable[[str], str]) -> None:
    """Wherever the body that an error keeps ends, inside of escapes too."""
    text, redact = form(KEY), Redactor([KEY])
    for longest in range(len(text)):
        kept = redact(f"no {text} here", 3 + longest)
        assert "002" not in kept
        assert len(kept) <= 3 + longest + len("***")


def test_one_mebibyte_of_a_character() -> None:
    """An error body of any one character, compressed to 1 KB, takes milliseconds, not minutes."""
    call = requests.get_key(requests.segment(KEY))
    for text in (*map(chr, range(128)), "\x85", "é", "…", "\u2028", "\U0001f511"):
        check_time(call, text.encode() * (2**20 // len(text.encode())))


@pytest.mark.slow
def test_random_bodies_of_one_mebibyte() -> None:
    """So do 200 random ones: of all bytes, and of what values and escapes are made of."""
    dice = random.Random(1)
    call = requests.get_key(requests.segment(KEY))
    for alphabet in (
        bytes(range(256)),
        b'\\u002d"',
        b"%252DJNK",
        b"&amp;#45; jnk0",
        b"JNK-0029800.",
    ):
        letters = bytes(alphabet[code % len(alphabet)] for code in range(256))
        for _ in range(40):
            check_time(call, dice.randbytes(2**20).translate(letters))


@pytest.mark.parametrize("value", ["\\" * 1024, "a" * 1024, "a-" * 512, "aaaa", "a", "%25" * 300])
@pytest.mark.parametrize("unit", ["a", "a ", "a-", "aaaa ", "\\", "%25", "a" * 900 + " ", "&#97;"])
def test_values_made_to_take_long(value: str, unit: str) -> None:
    """A value that a visitor typed, and a text that nearly repeats it everywhere."""
    call = requests.get_key(requests.segment(value))
    check_time(call, unit.encode() * (2**20 // len(unit)))


def test_a_list_of_all_keys_of_a_call() -> None:
    """A refusal that names each of a thousand keys."""
    values = [f"JNK-{number:04}-{KEY}" for number in range(1000)]
    error = check_time(requests.bulk_delete(values), json.dumps({"error": values}).encode())
    assert "JNK" not in error.body


@pytest.mark.parametrize("escape", ["\\n", "%5C", "&lt;", "%255Cn", "\\\\"])
def test_a_text_of_escapes_is_cut(escape: str) -> None:
    """Undoing each takes a microsecond: of more than 3,000 only the beginning is kept."""
    text = escape * 2999 + f" {KEY[:20]}" + escape * 3 + KEY[20:] + " " * 16_000
    shown = Redactor([KEY])(text, 2**16)
    assert len(escape) * 2900 < len(shown) < len(escape) * 3001 + len(KEY)
    assert KEY[:4] not in shown
    letters = "\\u0436" * 2700
    assert Redactor([KEY])(letters, 16 * 1024) == letters


def check_time(call: requests.Request[Any], body: bytes) -> APIError:
    """Read an error body within 50 ms of CPU."""
    error = run_within(0.05, lambda: refuse(call, body))
    assert len(error.body) <= 16 * 1024
    return error


# --- control characters ---------------------------------------------------------------------------

UNSAFE = [
    *map(chr, (*range(32), *range(0x7F, 0xA0))),
    *"\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e",
    *"\u2060\u2061\u2066\u2067\u2068\u2069\u206f\ufeff\ufff9\ufffb\U000e0001\U000e0041\U000e007f",
    "\udc80",
]


def test_no_control_characters() -> None:
    """None that a terminal obeys, that breaks a line of a log, or that hides or reorders text."""
    call = requests.get_key(requests.segment(KEY))
    for unsafe in UNSAFE:
        word = f"x{unsafe}y"
        raw = word.encode("utf-8", "surrogateescape")
        error = refuse(call, b"said " + raw, **{"X-Echo": word})
        escaped = refuse(call, json.dumps({"error": word}).encode())
        texts = (error.message, error.body, error.headers["x-echo"], escaped.message, str(error))
        assert not any(unsafe in text for text in texts), ascii(unsafe)
        assert error.body in ("said xy", "said x y", "said x\ufffdy")
        assert error.body.isprintable()


def test_values_with_hidden_characters_are_masked() -> None:
    """What is removed does not hide a value from the search."""
    hidden = "\u200b".join(KEY)
    assert Redactor([KEY])(f"no {hidden} here", 1000) == "no *** here"

"""Texts from the network made safe to show: secrets masked, control characters removed.

Servers repeat a value as they like: in another case, percent-, JSON- or HTML-escaped, with spaces
or underscores for its dashes, cut short with dots. None of that changes its letters and digits. So
texts are unescaped, and then compared by these alone.
"""

from __future__ import annotations

import re
import string
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, unquote

from .fields import secret_fields
from .json_documents import decode_json
from .lenient import is_list, is_object
from .requests import KEY, Request

_Span: TypeAlias = tuple[int, int]

_MASK: Final = "***"

_MIN_SHOWN: Final = 4
"""Letters that a shortened value (``JNK-1...``) must show to be taken for one."""

_UNMISTAKABLE: Final = 12
"""A value of so many letters is masked within longer words, too. A shorter one may be part of a
word that has nothing to do with it."""

_MAX_WORK: Final = 100_000
"""Letters to compare in one text, some 10 ms. A text that needs more, as one that begins secrets
everywhere, is masked whole."""

_MAX_DEPTH: Final = 4
"""How often a text may be escaped: JSON within JSON within HTML within a URL."""

_MAX_ESCAPES: Final = 3000
"""Escapes in one text, some 3 ms. A text of 16 Ki characters has as many if it is in Cyrillic
letters, each as ``\\u0416``. A text that has more is cut."""

_ESCAPE = (
    r"(?ai)"
    r"%(?:[0-7][0-9a-f]|[c-f][0-9a-f](?:%[89ab][0-9a-f]){1,3})"  # URL: a character in UTF-8
    r"|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|\\u[0-9a-f]{4}|\\[\"'/\\abfnrtv]"  # JSON
    r"|&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][0-9a-z]{1,7});"  # HTML
)
_WORD_CHARACTERS = string.ascii_letters + string.digits
_DOTS = re.compile(r"[\W_]{0,3}?(?:\.\.|…)")


def prepare_redaction() -> None:
    """Load and compile what errors need: see `lenient.prepare_reader`."""
    import html

    html.unescape(next(re.finditer(_ESCAPE, "&amp;"))[0])


def find_secrets(request: Request[Any]) -> Iterator[str]:
    """Yield the secrets of a request: the key that its path refers to, and its secret fields."""
    yield from request.unsent_secrets
    path, _, query = request.target.partition("?")
    if request.path.startswith(KEY) and not (key := path.split("/")[2]).isdigit():  # not an ID
        yield unquote(key)
    body: Any = decode_json(request.body) if request.body else None
    fields = body if is_object(body) else dict[str, Any]()
    for name, value in (*parse_qs(query).items(), *fields.items()):
        if name in secret_fields():
            values: list[Any] = value if is_list(value) else [value]
            yield from (one for one in values if isinstance(one, str))


def clean(text: str) -> str:
    """Put a text from the network on one line, without control and invisible characters.

    Terminals obey some, such as escape codes; others hide text or, as U+202E does, reverse it.
    """
    if text.isprintable():
        return text
    return "".join([one if one.isprintable() else " " if one.isspace() else "" for one in text])


class Redactor:
    """Masks secrets in texts from the network, in time linear in the text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _spell(secret)}
        # Of forms with the same letters the longest counts: it has the widest gaps.
        texts = [_Letters(form) for form in sorted(forms, key=len)]
        self._secrets = {text.letters: text for text in texts if text.letters}
        self._sorted = sorted(self._secrets)
        # A secret without letters must be as it is. Fewer symbols are punctuation.
        self._symbols = [
            text.text for text in texts if not text.letters and len(text.text) >= _MIN_SHOWN
        ]
        # By the letters that begin them: those of the longest one.
        self._starts = {
            letters[:_MIN_SHOWN]: len(letters) for letters in sorted(self._sorted, key=len)
        }

    def __call__(self, text: str, longest: int) -> str:
        """Mask all secrets in the beginning of a text, and remove control characters.

        Args:
            text: What a server says.
            longest: Characters of it to keep.
        """
        longest = min(longest, _find_end(text[:longest]))
        is_cut = len(text) > longest
        text = clean(_cut_between_words(text, longest) if is_cut else text)
        plain, begins, ends = _unescape(text)
        pieces: list[str] = []
        done = 0
        for first, end in sorted(self._find(plain, is_cut=is_cut)):
            if begins[first] >= done:
                pieces += text[done : begins[first]], _MASK
            done = max(done, ends[end - 1])
        return ("".join(pieces) + text[done:])[:longest]

    def _find(self, plain: str, *, is_cut: bool) -> Iterator[_Span]:
        """Find the secrets in an unescaped text, in any order."""
        for symbols in self._symbols:
            yield from (found.span() for found in re.finditer(re.escape(symbols), plain))
        text, work = _Letters(plain), 0
        for start, longest in self._starts.items():
            at = text.letters.find(start)
            while at >= 0:
                span = None
                if longest >= _UNMISTAKABLE or text.begins_word(at):
                    work += longest
                    window = text.letters[at : at + longest]
                    span = self._match_whole(text, at, window)
                    span = span or self._match_beginning(text, at, window, is_cut=is_cut)
                if work > _MAX_WORK:
                    yield 0, len(plain)
                    return
                if span is not None:
                    yield span
                next_letter = bisect_left(text.positions, span[1]) if span else at + 1
                at = text.letters.find(start, next_letter)

    def _match_whole(self, text: _Letters, at: int, window: str) -> _Span | None:
        """Match the longest secret that the text has at one of its letters."""
        while index := bisect_right(self._sorted, window):
            secret = self._secrets[self._sorted[index - 1]]
            size = len(secret.letters)
            if not window.startswith(secret.letters):
                window = window[: _count_common(window, secret.letters)]
            elif text.count_matches(secret, at, size) == size and (
                size >= _UNMISTAKABLE or (text.begins_word(at) and text.ends_word(at + size))
            ):
                return text.locate_secret(secret, at)
            else:
                window = window[: size - 1]
        return None

    def _match_beginning(
        self, text: _Letters, at: int, window: str, *, is_cut: bool
    ) -> _Span | None:
        """Match a secret that ends in dots, or at the end of a text that was cut."""
        index = bisect_right(self._sorted, window)
        near = self._sorted[max(0, index - 1) : index + 1]
        size, letters = max((_count_common(window, one), one) for one in near)
        size = text.count_matches(self._secrets[letters], at, size, dots=True)
        end = at + size
        at_end = is_cut and end == len(text.letters)
        shortened = text.begins_word(at) and text.has_dots(end)
        if size >= _MIN_SHOWN and (at_end or shortened):
            return text.positions[at], text.positions[end - 1] + 1
        return None


class _Letters:
    """The letters and digits of a text, in lower case, and their positions in it."""

    def __init__(self, text: str) -> None:
        # Not `text.lower()`, which may be longer than the text if that is not ASCII.
        lower = text.lower() if text.isascii() else "".join([one.lower()[0] for one in text])
        self.text = text
        self.letters = "".join(filter(str.isalnum, lower))
        self.positions = list(compress(range(len(lower)), map(str.isalnum, lower)))

    def begins_word(self, at: int) -> bool:
        """Whether a letter is the first one of its word."""
        return at == 0 or self.positions[at] - self.positions[at - 1] > 1

    def ends_word(self, end: int) -> bool:
        """Whether the letter before `end` is the last one of its word."""
        return end == len(self.positions) or self.begins_word(end)

    def has_dots(self, end: int) -> bool:
        """Whether dots follow the letter before `end`."""
        return _DOTS.match(self.text, self.positions[end - 1] + 1) is not None

    def count_matches(self, secret: _Letters, at: int, size: int, *, dots: bool = False) -> int:
        """Count the letters from `at` on that are no further apart than those of a secret.

        ``dots`` ends the count at dots, too.
        """
        mine, theirs = self.positions, secret.positions
        for index in range(1, size):
            gap = mine[at + index] - mine[at + index - 1] - 1
            if gap and (
                gap > 2 * (theirs[index] - theirs[index - 1] - 1)
                or (dots and self.has_dots(at + index))
            ):
                return index
        return size

    def locate_secret(self, secret: _Letters, at: int) -> _Span:
        """Return where a secret is, with the symbols that it begins and ends with."""
        positions = secret.positions
        head, tail = secret.text[: positions[0]], secret.text[positions[-1] + 1 :]
        first, end = self.positions[at], self.positions[at + len(positions) - 1] + 1
        first -= len(head) if self.text.endswith(head, 0, first) else 0
        return first, end + (len(tail) if self.text.startswith(tail, end) else 0)


def _spell(secret: str) -> Iterator[str]:
    """Yield a secret as it is, and as a server that takes it for something else may write it."""
    for form in (secret, _unescape(secret)[0]):
        yield form
        if not form.isascii():
            yield form.encode().decode("latin-1")
            in_ascii = form.encode("ascii", "replace").decode()
            if sum(map(str.isalnum, in_ascii)) >= _UNMISTAKABLE:
                yield in_ascii


def _count_common(text: str, other: str) -> int:
    """Count the characters with which both texts begin."""
    pairs = enumerate(zip(text, other, strict=False))
    return next((at for at, (one, two) in pairs if one != two), min(len(text), len(other)))


def _cut_between_words(text: str, longest: int) -> str:
    """Shorten a text, and drop a last word of up to 64 letters: it may be half an escape."""
    kept = text[:longest]
    whole = kept.rstrip(_WORD_CHARACTERS)
    return whole if len(kept) - len(whole) <= 64 else kept


def _find_end(text: str) -> int:
    """Return how much of a text has no more escapes than can be undone."""
    if len(text) <= 2 * _MAX_ESCAPES:  # the shortest escapes have two characters
        return len(text)
    surplus = next(islice(re.finditer(_ESCAPE, text), _MAX_ESCAPES, None), None)
    return surplus.start() if surplus else len(text)


def _unescape(text: str) -> tuple[str, Sequence[int], Sequence[int]]:
    """Undo the escapes of a text; return also where each character began and ended before."""
    begins: Sequence[int] = range(len(text))
    ends: Sequence[int] = range(1, len(text) + 1)
    for _ in range(_MAX_DEPTH):
        pieces: list[str] = []
        new_begins: list[int] = []
        new_ends: list[int] = []
        done = 0
        for escape in re.finditer(_ESCAPE, text):
            start, end = escape.span()
            character = _unescape_one(escape[0])
            pieces += text[done:start], character
            new_begins += begins[done:start]
            new_begins += [begins[start]] * len(character)
            new_ends += ends[done:start]
            new_ends += [ends[end - 1]] * len(character)
            done = end
        if not pieces:
            break
        begins, ends = [*new_begins, *begins[done:]], [*new_ends, *ends[done:]]
        text = "".join(pieces) + text[done:]
    return text, begins, ends


def _unescape_one(escape: str) -> str:
    if escape[0] == "%":
        return unquote(escape)
    if escape[0] == "&":
        import html  # loaded by `prepare_redaction`: of 2,000 names, which few programs need

        return html.unescape(escape)
    if len(escape) == 2:
        return escape[1] if escape[1] in "\"'/\\" else " "
    return bytes.fromhex(escape.lower().replace("\\u", "")).decode("utf-16-be", "replace")

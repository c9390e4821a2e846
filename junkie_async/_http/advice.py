"""What to do about an error, as far as the client's own settings explain it."""

from __future__ import annotations

from urllib.parse import urlsplit

from .._errors import APIError, AuthenticationError, NotFoundError, RateLimitError

_PATH = "/api/v2"
_SHOWN = 4
_MIN_LENGTH = 16
"""Characters of an API key of which the first four may be shown. Real ones have 36."""


def advise(
    error: APIError, *, base_url: str, api_key: str, source: str, longest_pause: float
) -> str | None:
    """Say which of the client's settings to look at; None if the error says it all.

    Args:
        error: The error of a call, with its path.
        base_url: The service's URL.
        api_key: The API key that was sent.
        source: Where that came from.
        longest_pause: Seconds of ``Retry-After`` that the client waits out.
    """
    if isinstance(error, AuthenticationError):
        return f"check {source}{_show_beginning(api_key)}"
    if isinstance(error, RateLimitError) and (error.retry_after or 0.0) > longest_pause:
        return f"the client waits for up to {longest_pause:g} s (RetryPolicy.retry_after_cap)"
    if isinstance(error, NotFoundError):
        return _advise_on_url(error, base_url)
    return None


def _show_beginning(api_key: str) -> str:
    # 4 of the 32 hexadecimal digits of a real one tell which of several keys it is, and leave
    # 2**106 possibilities. Of a short one nothing is shown, as `mask_key_value` does.
    return f" (the key begins with {api_key[:_SHOWN]!r})" if len(api_key) >= _MIN_LENGTH else ""


def _advise_on_url(error: NotFoundError, base_url: str) -> str | None:
    """Say that the base URL may be wrong, where a 404 can't be about a key or is unlikely to be."""
    if not urlsplit(base_url).path:
        return f"{base_url} has no path: is the base URL {base_url}{_PATH}?"
    # The lists always exist. A create may name a provider that does not.
    is_list = error.method == "GET" and error.path in ("/keys", "/keys/folders")
    return f"is the base URL {base_url} right?" if is_list else None

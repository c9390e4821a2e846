"""RFC 3339 with milliseconds and ``Z``: fixed width, so that text order is time order in SQL."""

from datetime import UTC, datetime, timedelta

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def render(moment: datetime) -> str:
    """Return an aware moment as ``2026-01-31T12:00:00.000Z``, cut to milliseconds.

    Raises:
        ValueError: The moment is naive.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment must have a UTC offset, such as datetime.UTC")
    return f"{moment.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def parse(text: str) -> datetime:
    """Parse any RFC 3339 date-time, and clamp it to what `datetime` can hold.

    Args:
        text: A date-time that passed the contract's validation, with any offset and precision.

    Returns:
        The moment in UTC.
    """
    text = text.upper()  # RFC 3339 (section 5.6) allows "t" and "z"
    leap = text[17:19] == "60"  # RFC 3339 has leap seconds, datetime has not
    if leap:
        text = f"{text[:17]}59{text[19:]}"
    try:
        return datetime.fromisoformat(text).astimezone(UTC) + timedelta(seconds=leap)
    except (ValueError, OverflowError):  # the year 0000, or an offset that leaves 0001 to 9999
        return _LAST if text.startswith("9999") else _FIRST


def render_up(moment: datetime) -> str:
    """Return a moment rounded up to a whole millisecond."""
    cut = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return render(moment if cut == moment or _LAST - cut < _MILLISECOND else cut + _MILLISECOND)


def add_minutes(moment: datetime, minutes: int) -> datetime:
    """Return the moment that many minutes later, clamped to the end of the year 9999."""
    # The contract sets no upper bound to validity_minutes.
    try:
        return moment + timedelta(minutes=minutes)
    except OverflowError:
        return _LAST

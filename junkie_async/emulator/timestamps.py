"""RFC 3339 with milliseconds and ``Z``: fixed width, so that text order is time order in SQL."""

from datetime import UTC, datetime, timedelta

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def utc_now() -> datetime:
    """Return the present moment, in UTC."""
    return datetime.now(UTC)


def render(moment: datetime) -> str:
    """Return an aware moment as ``2026-01-31T12:00:00.000Z``, cut to milliseconds.

    Raises:
        ValueError: The moment has no offset, so it could be any.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment needs an offset, such as datetime.UTC")
    return f"{moment.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def parse(text: str) -> datetime:
    """Read any RFC 3339 date-time; what `datetime` can't hold becomes the nearest that it can.

    Args:
        text: A date-time which the contract has accepted, with any offset and any precision.

    Returns:
        The moment in UTC.
    """
    text = text.upper()
    leap = text[17:19] == "60"  # RFC 3339 has leap seconds, datetime has not
    if leap:
        text = f"{text[:17]}59{text[19:]}"
    try:
        return datetime.fromisoformat(text).astimezone(UTC) + timedelta(seconds=leap)
    except (ValueError, OverflowError):  # the year 0000, or an offset that leaves 0001 to 9999
        return _LAST if text.startswith("9999") else _FIRST


def render_up(moment: datetime) -> str:
    """Return the first whole millisecond that is not before the moment."""
    cut = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return render(moment if cut == moment or _LAST - cut < _MILLISECOND else cut + _MILLISECOND)


def later(moment: datetime, minutes: int) -> datetime:
    """Return the moment that many minutes on, held at the end of the year 9999."""
    try:
        return moment + timedelta(minutes=minutes)
    except OverflowError:
        return _LAST

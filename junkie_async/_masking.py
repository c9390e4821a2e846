"""Masking: the one way in which a key value is shown in part."""


def mask_key_value(value: str) -> str:
    """Return a key value masked for logs and screens: ``JNK-…cdef``, or ``…`` if it is short.

    Args:
        value: The key value, or any other secret.

    Returns:
        The first and last four characters of a value of 16 or more. Nothing of a shorter one, whose
        ends would be most of it.
    """
    ends = [ascii(end)[1:-1] for end in (value[:4], value[-4:])]  # no line break reaches a log
    return "…".join(ends) if len(value) >= 16 else "…"

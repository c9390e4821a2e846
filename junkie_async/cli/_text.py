"""Text for people: one line, without control characters, numbers with separators."""


def remove_controls(text: str) -> str:
    """Drop what can't be printed, such as the escape codes of a terminal, and line breaks."""
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def to_one_line(text: str) -> str:
    """Fold text into one printable line: parts of it may come from the network."""
    return remove_controls(" ".join(text.split()))


def format_key_count(keys: int) -> str:
    """Write a number of keys: ``1 key``, ``1,234 keys``."""
    return "1 key" if keys == 1 else f"{keys:,} keys"

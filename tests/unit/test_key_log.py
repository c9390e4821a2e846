"""All key values of a job: in order, in little memory, whatever the disk does."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from junkie_async._jobs.key_log import KeyLog


def _make_calls(count: int) -> list[list[str]]:
    """Make the keys of some calls, of 100 keys each."""
    return [
        [f"JNK-{call:08d}-{number:08d}-{'x' * 20}" for number in range(100)]
        for call in range(count)
    ]


def _read_all(log: KeyLog) -> list[list[str]]:
    return [keys for number in range(log.end_block()) for keys in log.read(number)]


def test_keys_come_back_as_they_were(tmp_path: Path) -> None:
    """Across blocks, in order, with any characters."""
    log, calls = KeyLog(tmp_path), [["a\nb", '"]\n["', "\u2028\0"], [], *_make_calls(600)]
    for keys in calls:
        log.append(keys)
    assert _read_all(log) == [keys for keys in calls if keys]
    log.append(["later"])
    assert _read_all(log)[-1] == ["later"]
    assert not [*tmp_path.iterdir()]  # its file has no name


def test_a_million_keys_take_a_few_megabytes(tmp_path: Path) -> None:
    """A tenth of them, to be quick: the last block is all that is in memory."""
    log, (keys,) = KeyLog(tmp_path), _make_calls(1)
    tracemalloc.start()
    try:
        for _ in range(1000):
            log.append(keys)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("fails", ["to open", "to write", "to write all"])
def test_a_full_disk_loses_no_key(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't be written stays in memory."""
    make_file = tempfile.TemporaryFile

    class Full:
        """A file of which nothing can be written, or only the first bytes."""

        def __init__(self) -> None:
            self._file = make_file(buffering=0)
            self.seek, self.close = self._file.seek, self._file.close

        def write(self, content: bytes) -> int:
            if fails == "to write":
                raise OSError(28, "No space left on device")
            return self._file.write(content[:1000])

    def open_file(**_: Any) -> Full:
        if fails == "to open":
            raise OSError(28, "No space left on device")
        return Full()

    monkeypatch.setattr(tempfile, "TemporaryFile", open_file)
    log, calls = KeyLog(tmp_path), _make_calls(600)
    for keys in calls:
        log.append(keys)
    assert _read_all(log) == calls

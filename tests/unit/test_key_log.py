"""All key values of a job: in order, in little memory, whatever the disk does."""

from __future__ import annotations

import pickle
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from junkie_async import CreateReport
from junkie_async._jobs.key_log import KeyLog
from junkie_async._models.results import report_on_demand


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
    assert log.length == 3 + 60_000
    log.append(["later"])
    assert _read_all(log)[-1] == ["later"]
    assert not [*tmp_path.iterdir()]  # its file has no name


def test_its_file_is_in_the_given_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one for temporary files may be small, or in memory."""
    folders: list[object] = []
    make_file = tempfile.TemporaryFile

    def note_folder(**options: Any) -> Any:
        folders.append(options["dir"])
        return make_file(**options)

    monkeypatch.setattr(tempfile, "TemporaryFile", note_folder)
    log = KeyLog(tmp_path)
    for keys in _make_calls(600):
        log.append(keys)
    assert folders == [tmp_path]


def test_values_are_found_wherever_they_lie(tmp_path: Path) -> None:
    """In a block on the disk, and in the latest one; a part of a value is none."""
    log, calls = KeyLog(tmp_path), _make_calls(600)
    for keys in [*calls, ['a", "b', "late"]]:
        log.append(keys)
    wanted = [calls[0][0], calls[599][99], "late", "b", "a", calls[5][0][:-1]]
    assert log.find(wanted) == {calls[0][0], calls[599][99], "late"}
    assert log.find([keys[7] for keys in calls]) == {keys[7] for keys in calls}
    assert log.find([]) == set()
    assert _read_all(log) == [*calls, ['a", "b', "late"]]


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


def test_a_report_counts_keys_without_reading_them(tmp_path: Path) -> None:
    """A report of a job with a ledger reads its keys when they are asked for, and only then."""
    log = KeyLog(tmp_path)
    log.append([f"KEY-{number}" for number in range(3)])
    reads: list[int] = []

    def read() -> tuple[str, ...]:
        reads.append(1)
        return log.read_first(2)

    report = report_on_demand(read, created=2, requested=5, failed=3, unknown=0)
    log.append(["KEY-3"])  # after the report
    assert (report.created, report.failed) == (2, 3)
    assert repr(report) == repr(CreateReport(requested=5, keys=("a", "b"), failed=3))
    assert not reads
    assert report.keys == ("KEY-0", "KEY-1")
    assert report == CreateReport(requested=5, keys=("KEY-0", "KEY-1"), failed=3)
    assert pickle.loads(pickle.dumps(report)) == report
    assert reads == [1]
    with pytest.raises(AttributeError):
        report.other  # type: ignore[attr-defined]  # noqa: B018

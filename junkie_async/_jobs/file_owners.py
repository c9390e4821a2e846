"""Whose files these are: in a folder such as /tmp, other users can make files and links too."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_MAX_LINKS: Final = 40  # as in Linux


def resolve_links(path: Path) -> Path:
    """Return a path without symbolic links. What it leads to need not exist.

    Raises:
        PermissionError: A link was made by another user, so it may lead anywhere.
        OSError: The links go round in a circle.
    """
    if sys.platform == "win32":  # making a link is a privilege there
        return Path(os.path.realpath(path))
    parts = [*reversed(path.absolute().parts)]
    resolved, links = Path(parts.pop()), 0
    while parts:
        part = parts.pop()
        step = resolved.parent if part == ".." else resolved / part
        if not os.path.islink(step):  # noqa: PTH114 - `Path.is_symlink` raises for a long name
            resolved = step
            continue
        links += 1
        _check_link(step, links)
        parts += reversed(step.readlink().parts)  # joining the root, "/", starts anew
    return resolved


def _check_link(link: Path, links: int) -> None:
    if links > _MAX_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(link))
    # As Linux' fs.protected_symlinks has it, but in every folder: the owner of the folder could
    # replace the file itself, and on some systems root makes /tmp a link.
    if link.lstat().st_uid not in (0, os.geteuid(), link.parent.stat().st_uid):
        raise PermissionError(
            errno.EPERM, "it is a symbolic link of another user (choose another path)", str(link)
        )


def is_kept_by_folder(path: Path) -> bool:
    """Whether a file can't be replaced, since its folder is as /tmp and it is another user's."""
    folder = path.parent.stat()
    is_sticky = bool(folder.st_mode & stat.S_ISVTX)
    return is_sticky and os.geteuid() not in (0, folder.st_uid, path.stat().st_uid)


def check_regular(path: Path) -> os.stat_result:
    """Refuse what is not a regular file: opening a named pipe may never return."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return found


def check_one_name(path: Path) -> None:
    """Refuse a file with hard links: a lock beside one name does not guard the others."""
    if path.stat().st_nlink > 1:
        raise OSError(
            errno.EMLINK,
            "it has another name, a hard link: delete one, or copy the file",
            str(path),
        )


def identify_files(paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Return device and inode of each file that exists, by which it is known whatever its name."""
    found: dict[Path, tuple[int, int]] = {}
    for path in paths:
        with suppress(FileNotFoundError):
            status = path.lstat()
            found[path] = status.st_dev, status.st_ino
    return found


def check_own_files(paths: Iterable[Path], folder: Path) -> None:
    """Refuse files in a folder that another user made; those that don't exist are no matter.

    Raises:
        PermissionError: Another user owns one, and can read what is written to it.
        OSError: One is not a regular file.
    """
    owners: dict[Path, int] = {}
    for path in paths:
        with suppress(FileNotFoundError):
            owners[path] = check_regular(path).st_uid
    ours = _get_own_id(folder) if owners else None
    for path, owner in owners.items():
        if owner != ours:
            raise PermissionError(
                errno.EPERM, "it belongs to another user (choose another path)", str(path)
            )


def _get_own_id(folder: Path) -> int:
    # Not `geteuid`: some mounts store the files of all users under one owner.
    with tempfile.TemporaryFile(dir=folder) as ours:
        return os.fstat(ours.fileno()).st_uid


def create_private(path: Path) -> None:
    """Create a file with mode 0600, unless there is one."""
    # An existing file is not opened: closing it again would release the POSIX locks that SQLite
    # has on it, if this process uses it already.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def make_private(paths: Iterable[Path]) -> None:
    """Set the mode of files that others may read or write to 0600."""
    for path in paths:
        with suppress(FileNotFoundError):
            if path.lstat().st_mode & 0o077:
                path.chmod(0o600)

"""Tells at the price of one system call that nothing has happened to many files, where the system can tell: inotify."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Watch"]

# Of <sys/inotify.h>: modify, attrib, moved from, moved to, create, delete, delete self, move self.
_MASK = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800


class Watch:
    """Watches the folders of files. The kernel queues what happens before whoever did it goes on."""

    def __init__(self, files: Iterable[str]) -> None:
        """Start to watch; where that cannot be done, nothing is ever `quiet`."""
        # A link's own folder, and the one that it leads to.
        folders = {
            str(Path(name).parent) for file in files for name in (file, os.path.realpath(file))
        }
        self._fd: int | None = None
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            add = libc.inotify_add_watch
        except (OSError, AttributeError, TypeError):
            return
        if fd < 0:
            return
        self._fd = fd
        # Of one that is not there yet its parent, which a caller names as well, tells.
        if any(
            add(fd, os.fsencode(folder), _MASK) < 0 for folder in folders if Path(folder).is_dir()
        ):
            self.close()  # more than the system allows

    def quiet(self) -> bool:
        """Return whether it is certain that nothing has happened since the last call."""
        if self._fd is None:
            return False
        try:
            os.read(self._fd, 65536)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        """Stop watching."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

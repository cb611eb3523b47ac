"""Errors of the file system: no room, and files that are not there or may not be touched."""

from __future__ import annotations

import errno

from localrules.errors import LocalRulesError, UsageError

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_PATH = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EACCES, errno.EPERM),
    *(errno.ENAMETOOLONG, errno.ELOOP, getattr(errno, "ESTALE", errno.ENOENT)),
}
_NO_PLACE = ("Symlink loop", "Could not determine home directory")  # pathlib's words


def has_no_room(error: OSError) -> bool:
    """Whether the disk is full, a quota or a limit on file sizes is reached, or the disk fails."""
    return error.errno in _NO_ROOM


def disk_error(error: BaseException) -> LocalRulesError | None:
    """The error for people, if an exception says that a file cannot be read or written."""
    if isinstance(error, RuntimeError) and str(error).startswith(_NO_PLACE):  # of pathlib
        return UsageError("a path leads nowhere", why=str(error), fix="name a file or a folder that is there")
    if not isinstance(error, OSError) or error.errno not in _NO_ROOM | _NO_PATH:
        return None
    no_room = has_no_room(error)
    return LocalRulesError(
        "a file cannot be written" if no_room else "a file cannot be read or written",
        where=str(error.filename or "") or ("standard output, or a file" if no_room else ""),
        why=error.strerror or str(error),
        fix="make room on the disk, or raise the quota or the limit on file sizes (ulimit -f)"
        if no_room
        else "see that it is there, and that you may read and write it",
    )

"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glottis.errors import InputError

# What a write without a file name in its error can die of that is about the place written to.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; rename it to ``path`` on success.

    The folder is made when it is missing. When the block raises, the temporary file is removed and
    whatever stood at ``path`` stays as it was. The temporary name keeps the suffix of ``path``, so
    that writers that look at it (soundfile, matplotlib) choose the right format. A link stays a
    link, and what it points to is replaced; a device or a pipe is given as it is.

    Raises:
        InputError: the folder cannot be made or written, or the disk is full. Other errors of the
            block pass unchanged.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        yield target  # renaming over /dev/null would destroy it
        return
    # A short piece of the name is enough to recognise leftovers, and never makes it too long.
    temporary = target.parent / f".{target.stem[:40]}-{os.urandom(6).hex()}{target.suffix}"
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Created here rather than by tempfile, whose files are private whatever the umask.
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            mode = temporary.stat().st_mode
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error.strerror or error}; "
                "choose another place with -o/--out"
            ) from error
        yield temporary
        temporary.chmod(mode)  # some writers put a private file of their own in its place
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        ours = {os.fspath(temporary), os.fspath(target)}
        if str(error.filename) not in ours and error.errno not in _NO_ROOM:
            raise
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; "
            "free some space or choose another place"
        ) from error
    except BaseException:
        with suppress(OSError):  # there may be no such folder
            temporary.unlink(missing_ok=True)
        raise

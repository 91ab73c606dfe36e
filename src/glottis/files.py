"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glottis.errors import InputError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; rename it to ``path`` on success.

    The folder is made when it is missing. When the block raises, the temporary file is removed and
    whatever stood at ``path`` stays as it was. The temporary name keeps the suffix of ``path``, so
    that writers that look at it (soundfile, matplotlib) choose the right format.

    Raises:
        InputError: the folder cannot be made or written, or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix
        )
        os.close(handle)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror or error}; choose another place with -o/--out"
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; what we write should obey the user's umask like any other.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"cannot write {target}: {error.strerror or error}; "
            "free some space or choose another place"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

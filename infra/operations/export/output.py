"""Opens the file of an export: the whole file is there in the end, or none."""

import errno
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from infra.operations.export.error import ExportError

STANDARD_OUTPUT = Path("-")

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than allowed",
    errno.ENOENT: "there is no such folder",
    errno.EACCES: "the folder or file may not be written",
    errno.EISDIR: "it is a folder",
}


class CountedOutput:
    """A file to write to, which counts its bytes and says why it can't be written."""

    closed = False

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._file = file
        self.size = 0

    def write(self, content: bytes) -> int:
        """Writes all bytes.

        Raises:
            ExportError: the file can't be written.
        """
        with explained(self._name):
            self._file.write(content)
        self.size += len(content)
        return len(content)

    def tell(self) -> int:
        """Returns the number of bytes written."""
        return self.size

    def flush(self) -> None:
        """Hands all bytes to the system."""
        with explained(self._name):
            self._file.flush()


@contextmanager
def opened(path: Path) -> Iterator[CountedOutput]:
    """Opens the file, which only its owner may read, or standard output for `-`.

    The bytes go to a file beside it, which gets the name at the end of the block: until then, and if the block fails,
    there is the former file or none. A pipe or device is written directly.

    Raises:
        ExportError: the file can't be written.
    """
    if path == STANDARD_OUTPUT:
        with _standard_output() as output:
            yield output
        return
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        with explained(str(path)), target.open("wb") as file:
            yield CountedOutput(str(path), file)
        return
    yield from _renamed_at_the_end(str(path), target)


@contextmanager
def _standard_output() -> Iterator[CountedOutput]:
    output = CountedOutput("standard output", sys.stdout.buffer)
    try:
        yield output
        output.flush()
    except ExportError:
        with suppress(OSError, ValueError):  # Python's end then flushes the rest to nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _renamed_at_the_end(name: str, target: Path) -> Iterator[CountedOutput]:
    with explained(name):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    with explained(name):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            output = CountedOutput(name, file)
            yield output
            output.flush()
            with explained(name):
                os.fsync(file.fileno())
        with explained(name):
            temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Explains an error of the file in an `ExportError`."""
    try:
        yield
    except BrokenPipeError as error:
        raise ExportError(f"{name} was closed before the end; the export is incomplete") from error
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or type(error).__name__)
        raise ExportError(f"{name} can't be written: {reason}") from error

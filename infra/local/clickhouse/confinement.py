"""Confines ClickHouse's process to its files and port with Linux's Landlock, which a process can't undo.

The engine's rights cover table functions and table engines, but not the scalar function `file()`, which can also hide
in text that only the engine parses (for example the default of a column in a column description). Therefore the whole
process is denied all other files and all network addresses.
"""

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

# System call numbers, the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2
_SET_NO_NEW_PRIVILEGES = 38

_MIN_VERSION = 2  # version 1 forbids renames between folders, which the engine needs
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1

_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE

# System files that the engine and the interpreter read; none is secret.
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/ld.so.cache",
    "/sys/fs/cgroup",
    "/sys/devices/system",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/dev/urandom",
)
_DEVICES = ("/dev/null",)


def confine(writable: Iterable[Path], port: int) -> bool:
    """Limits this process to `writable` folders, system files and code, and to listening on `port`.

    The limits apply to threads and processes started afterwards. From Linux 6.7 on, all outgoing connections are
    refused.

    Returns:
        Whether the kernel supports it: False outside Linux, before 5.19, or with Landlock switched off.

    Raises:
        OSError: the kernel supports Landlock but returned an error.
    """
    if sys.platform != "linux":
        return False
    kernel = ctypes.CDLL(None, use_errno=True)
    version = kernel.syscall(_CREATE_RULESET, None, 0, _GET_VERSION)
    if version < _MIN_VERSION:
        return False
    files = (1 << (13 + (version >= 2) + (version >= 3))) - 1 | (_IOCTL_DEVICE if version >= 5 else 0)
    network = _BIND_TCP | _CONNECT_TCP if version >= 4 else 0
    handled = struct.pack("=QQ", files, network) if network else struct.pack("=Q", files)
    rules = _checked(kernel.syscall(_CREATE_RULESET, handled, len(handled), 0))
    for path in writable:
        _allow(kernel, rules, path, files)
    for name in _DEVICES:
        _allow(kernel, rules, Path(name), files)
    for path in {*map(Path, _SYSTEM), *_code()}:
        _allow(kernel, rules, path, files & _READ)
    if network:
        _checked(kernel.syscall(_ADD_RULE, rules, _NET_PORT, struct.pack("=QQ", _BIND_TCP, port), 0))
    _checked(kernel.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _checked(kernel.syscall(_RESTRICT_SELF, rules, 0))
    os.close(rules)
    return True


def _code() -> set[Path]:
    """Returns the folders of the interpreter, its libraries and this package."""
    return {Path(sys.base_prefix), *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))} | {
        Path(__file__).parents[1]
    }


def _allow(kernel: ctypes.CDLL, rules: int, path: Path, access: int) -> None:
    """Allows `access` to the file, or to everything below the folder; ignores a missing path."""
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        wanted = access if path.is_dir() else access & _OF_FILES
        _checked(kernel.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", wanted, opened), 0))
    finally:
        os.close(opened)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result

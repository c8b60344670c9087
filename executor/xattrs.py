"""Extended attributes by a directory's descriptor and a name."""

from __future__ import annotations

import errno
import os
from typing import Final

Xattrs = tuple[tuple[str, bytes], ...]
_NO_XATTRS: Final = (errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES)


def place_of(directory: int, name: bytes) -> bytes:
    """A path for calls that know no directory descriptor. The name itself is not followed by the l… calls."""
    return b"/proc/self/fd/%d/%s" % (directory, name)


def read_xattrs(directory: int, name: bytes) -> Xattrs:
    """Extended attributes, by name; none where the file system has none."""
    place = place_of(directory, name)
    try:
        names = os.listxattr(place, follow_symlinks=False)
        return tuple((key, os.getxattr(place, key, follow_symlinks=False)) for key in sorted(names))
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return ()
        raise


def write_xattrs(directory: int, name: bytes, wanted: Xattrs) -> None:
    """Make these the entry's only ones."""
    place = place_of(directory, name)
    have = read_xattrs(directory, name)
    for key, value in wanted:
        if (key, value) not in have:
            os.setxattr(place, key, value, follow_symlinks=False)
    names = {key for key, _ in wanted}
    for key, _ in have:
        if key not in names:
            os.removexattr(place, key, follow_symlinks=False)

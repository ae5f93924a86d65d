"""Disks that are slow, or refuse to say when they have written."""

import errno
import os

IN_SINGLE_FILE = False  # left out of the single file of a step: it writes nowhere but into its runs


def sync(out):
    """Waits until an open file is on the disk; Drive and other mounted disks refuse to say, which is no error."""
    out.flush()
    try:
        os.fsync(out.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise

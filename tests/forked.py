"""A step in a forked process, so that it can be killed, starved of disk or run as another user without importing
PyTorch anew.
"""

import ctypes
import os
import resource
import signal
import struct
import sys
import threading
from typing import NamedTuple

from common.cli import run_script


class Ended(NamedTuple):
    """How a session ended: its exit code, -9 where it was killed, and what it wrote."""

    code: int
    out: str
    err: str


def session(step, arguments, kill_after=None, largest_file=None, powerless=False):
    """Runs a step's main in a fork of this process, which must not have trained anything itself.

    kill_after: seconds until kill -9; largest_file: bytes that a file may have, as on a full disk; powerless: without
    what root may do beside the files' modes.
    """
    pipes = [os.pipe(), os.pipe()]
    child = os.fork()
    if child == 0:
        for (_, writing), stream in zip(pipes, (1, 2), strict=True):
            os.dup2(writing, stream)
        sys.stdout, sys.stderr = (open(stream, "w", encoding="utf-8", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115
        sys.argv = [f"{step.__name__}.py", *arguments]
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        if powerless:
            ctypes.CDLL(None).capset(
                struct.pack("Ii", 0x20080522, 0), bytes(24)
            )  # linux/capability.h: no capability in any set
        code = 0
        try:
            run_script(lambda: step.main(arguments))
        except SystemExit as end:
            code = end.code
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 99
        os._exit(code or 0)
    texts = [b"", b""]

    def read(number):
        with open(pipes[number][0], "rb") as pipe:
            texts[number] = pipe.read()

    for _, writing in pipes:
        os.close(writing)
    readers = [threading.Thread(target=read, args=(number,)) for number in (0, 1)]
    killer = threading.Timer(kill_after or 0, os.kill, (child, signal.SIGKILL))
    for thread in [*readers, *[killer] * (kill_after is not None)]:
        thread.start()
    for thread in readers:
        thread.join()
    killer.cancel()
    status = os.waitpid(child, 0)[1]
    return Ended(os.waitstatus_to_exitcode(status), *(text.decode("utf-8", errors="replace") for text in texts))

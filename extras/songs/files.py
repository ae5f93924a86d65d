"""Which files the songs of a command line are, and what is none."""

import glob
import os
import re
import shlex

from common.errors import LabError


def matching(name):
    """The paths that a pattern such as *.mp3 stands for, sorted; Windows leaves it to the program. Else the name."""
    return [name] if os.path.exists(name) else sorted(glob.glob(name)) or [name]


def check_song(name):
    """LabError, with what to do instead, where a name cannot be a song's."""
    if re.match(r"[a-z]+://", name, re.IGNORECASE):
        raise LabError(f"{name}: a file on this computer was expected; download it, then give its path")
    if os.path.isdir(name):
        raise LabError(f"{name}: a song was expected, this is a folder; give the songs in it, {shlex.quote(name)}/*")
    if not os.path.exists(name):
        raise LabError(f"{name or repr(name)}: a song was expected, there is no such file")
    if not os.path.isfile(name):
        raise LabError(f"{name}: a song was expected, this is a pipe or a device; save the sound to a file first")

"""The cache: the clips of one split of a folder in one memory-mapped float16 array, read from the data once.

Half precision rounds a mel value by at most 1/32 dB and a chroma value by at most 1/4096. Two files:
<name>.<content>.npy holds the frames of all clips, (frames, 140), and is named by a hash of them; <name>.json has the
first frame and the length of each clip.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from filelock import FileLock

from common.dataset import Clips
from common.disk import sync
from common.errors import LabError, reason
from common.features import N_FEATURES
from common.files import checksum, file_path, write_json
from common.locations import REPOSITORY
from common.progress import progress
from common.reading import read_fused_spectrogram
from common.versions import stamp

IN_SINGLE_FILE = False  # left out of the single file of a step: SpectrogramDataset reads the same values without


def add_cache_flags(parser):
    """Adds --cache and --no-cache."""
    where = f"folder of the cache (default: {REPOSITORY.name}/cache)"
    parser.add_argument("--cache", type=file_path, metavar="DIR", help=where)
    text = "read the files into memory instead: same numbers, slower, more memory"
    parser.add_argument("--no-cache", action="store_true", help=text)


def cache_folder(given, no_cache):
    """The folder of the cache by the values of --cache and --no-cache; None for no cache."""
    return None if no_cache else given or REPOSITORY / "cache"


def cached(folder, build=True):
    """SpectrogramDataset's `read` with a cache: SpectrogramDataset(..., read=cached("cache")). Same values as without.

    build=False uses a cache that is there and makes none.
    """

    def read(files):
        split = Path(next(iter(files.values()))).parent
        unique = hashlib.sha256(os.fsencode(split.resolve())).hexdigest()[:8]  # no two folders share a cache
        return open_clips(files, Path(folder) / f"{split.parent.name}.{split.name}.{unique}.json", build)

    return read


class CachedClips:
    """Clips by id: clips[ident] is a (T, 140) float16 array, 128 mel bands in dB and then 12 chroma values.

    table: {id: [stamp of its file, first frame, frames, checksum]}; path: the index with this table; data: the array's
    file. A clip's checksum is compared when the clip is first read.
    """

    def __init__(self, table, path, data):
        self.table, self.path, self.data = table, path, data
        self.frames = np.load(data, mmap_mode="r")  # (sum of T, 140)
        total = sum(length for _, _, length, _ in table.values())
        if self.frames.dtype != "<f2" or self.frames.shape != (total, N_FEATURES):
            raise ValueError(f"{data}: another array than that of {path}")
        self.checked = set()

    def length(self, ident):
        """The clip's number of frames."""
        return self.table[ident][2]

    def checksum(self, ident):
        """That of the clip's frames, as common.checks.clip_checksums takes it without a cache."""
        return self.table[ident][3]

    def __getitem__(self, ident):
        _, start, length, expected = self.table[ident]
        clip = self.frames[start : start + length]
        if ident not in self.checked:
            if checksum(clip) != expected:
                with contextlib.suppress(OSError):  # a cache that cannot be removed is refused all the same
                    Path(self.path).unlink()
                damaged = f"the cache is damaged at clip '{ident}'"
                raise LabError(f"{self.data}: {damaged}; the next run makes it again")
            self.checked.add(ident)
        return clip

    def __reduce__(self):
        return CachedClips, (self.table, self.path, self.data)  # a worker process maps the file again


def open_clips(files, index, build=True):
    """The clips of `files`, {id: path}, from the cache; where that is missing or stale, it is made again.

    index: the cache's JSON file. It is made under a lock: one process reads, the others wait. build=False reads the
    files into memory instead.
    """
    stamps = {ident: stamp(path) for ident, path in files.items()}
    clips = map_cache(index, stamps)
    if clips or not build:
        return clips or Clips(files)
    index = Path(index)
    try:
        index.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{index}.lock"):
            clips = map_cache(index, stamps)  # another process may have made it while this one waited
            if not clips:
                write_cache(files, stamps, index)
                clips = map_cache(index, stamps)
    except OSError as error:
        advice = "--cache DIR puts it elsewhere, --no-cache leaves it out"
        raise LabError(f"{index}: the cache cannot be written there ({reason(error)}); {advice}") from error
    if not clips:
        raise LabError(f"{index}: the cache was written but cannot be read back; --cache DIR puts it elsewhere")
    return clips


def map_cache(index, stamps):
    """The cache, or None where it is missing, truncated, stale, or its index is damaged."""
    try:
        content = json.loads(Path(index).read_text(encoding="utf-8"))
        table, data = content["clips"], content["data"]
        if content["checksum"] != checksum(json.dumps([table, data]).encode()):
            return None
        if any(table.get(ident, [None])[0] != current for ident, current in stamps.items()):
            return None
        return CachedClips(table, index, Path(index).with_name(data))
    except Exception:  # damaged bytes reach every corner of the readers of JSON and of numpy's headers
        return None


def write_cache(files, stamps, index):
    """Reads each file once, writes the array and then the index that names it; what a killed process left is replaced.

    The array of an earlier index is removed last, so that the index names a complete one at every moment.
    """
    name = index.name.removesuffix(".json")
    unfinished = index.with_name(f"{name}.part")
    try:
        unfinished.unlink(missing_ok=True)  # a link there must not be followed
        with open(unfinished, "xb") as out:
            write_header(out, 10**15)  # the number of frames is known at the end; no other has more digits
            start_of_frames = out.tell()
            table, start = {}, 0
            for ident, clip in read_each(files, stamps):
                out.write(clip.tobytes())
                table[ident] = [stamps[ident], start, len(clip), checksum(clip)]
                start += len(clip)
            out.seek(0)
            write_header(out, start)
            if out.tell() != start_of_frames:
                raise RuntimeError("numpy's header has changed its length")
            sync(out)
        data = f"{name}.{checksum(json.dumps([row[3] for row in table.values()]).encode())}.npy"
        os.replace(unfinished, index.with_name(data))
        write_json(index, {"data": data, "clips": table, "checksum": checksum(json.dumps([table, data]).encode())})
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    for old in [*index.parent.glob(f"{name}.*.npy"), index.with_name(f"{name}.pack")]:  # .pack: of earlier versions
        if old.name != data:
            with contextlib.suppress(OSError):  # where another process still has it mapped, or there is none
                old.unlink()


def write_header(out, frames):
    """That of a .npy file of (frames, 140) float16."""
    np.lib.format.write_array_header_1_0(out, {"descr": "<f2", "fortran_order": False, "shape": (frames, N_FEATURES)})


def read_each(files, stamps):
    """Yields (id, (T, 140) float16) file by file, with a progress bar. LabError when a file changes meanwhile."""
    split = Path(next(iter(files.values()))).parent
    for ident, path in progress(files.items(), f"reading {split.parent.name}/{split.name}", "clip"):
        clip = read_fused_spectrogram(path).astype("<f2")
        if stamp(path) != stamps[ident]:
            raise LabError(f"{path}: the file changed while it was being read; run again when nothing writes there")
        yield ident, clip

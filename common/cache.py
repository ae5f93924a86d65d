"""The packed cache: the clips of one folder side in one memory-mapped float16 file, read from the data once.

Half precision rounds a mel value by at most 1/32 dB and a chroma value by at most 1/4096. Layout of the file: the clips' frames one
behind the other, (frames, 140) little-endian float16; then a JSON table of the clips; then the table's length and CRC-32 and a magic word.
"""

import contextlib
import hashlib
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from filelock import FileLock

from common.dataset import read_clips
from common.errors import LabError, reason
from common.features import N_ROWS
from common.progress import progress
from common.reading import read_fused_spectrogram

MAGIC = b"LABPACK1"
TRAILER = struct.Struct("<QI8s")  # length of the table, its CRC-32, MAGIC
ROW_BYTES = 2 * N_ROWS  # one frame in float16


def cached(folder, build=True):
    """How SpectrogramDataset reads with a cache in this folder: SpectrogramDataset(..., read=cached("cache")). Same values as without.

    build=False maps a cache that is there and makes none.
    """

    def read(files):
        side = next(iter(files.values())).parent
        place = hashlib.sha256(os.fsencode(side.resolve())).hexdigest()[:8]  # no two folders ever share one
        return open_clips(files, Path(folder) / f"{side.parent.name}.{side.name}.{place}.pack", build)

    return read


class PackedClips:
    """Clips by id: clips[ident] is a (T, 140) float16 array, 128 mel bands in dB and then 12 chroma values.

    table: {id: [stamp of its file, first frame, frames, CRC-32]}; frames: all clips' frames, (sum of T, 140) float16;
    path: the cache file behind them. A clip's CRC-32 is checked when it is first asked for.
    """

    def __init__(self, table, frames, path):
        self.table, self.frames, self.path = table, frames, path
        self.checked = set()

    def length(self, ident):
        """The clip's number of frames."""
        return self.table[ident][2]

    def __getitem__(self, ident):
        _, start, length, checksum = self.table[ident]
        clip = self.frames[start : start + length]
        if ident not in self.checked:
            if zlib.crc32(clip.tobytes()) != checksum:
                with contextlib.suppress(OSError):  # a cache that cannot be removed is refused all the same
                    Path(self.path).unlink()
                raise LabError(f"{self.path}: the cache is damaged at clip '{ident}'; without it the next run reads the files anew")
            self.checked.add(ident)
        return clip

    def __reduce__(self):
        return map_table, (self.path, self.table, len(self.frames))  # a worker maps the file again instead of carrying a copy


def open_clips(files, cache_file, build=True):
    """The clips of `files`, {id: path}: mapped where the cache holds them as they now are on disk, else from a cache made anew.

    It is made under a lock: one process reads, the others wait. build=False reads into memory instead.
    """
    stamps = {ident: stamp(path) for ident, path in files.items()}
    clips = map_cache(cache_file, stamps)
    if clips or not build:
        return clips or read_clips(files)
    cache_file = Path(cache_file)
    try:
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{cache_file}.lock"):
            clips = map_cache(cache_file, stamps)  # another process may have made it while this one waited
            if not clips:
                write_cache(files, stamps, cache_file)
                clips = map_cache(cache_file, stamps)
    except OSError as error:
        raise LabError(
            f"{cache_file}: the cache cannot be written there ({reason(error)}); --cache DIR puts it elsewhere, --no-cache leaves it out"
        ) from error
    if not clips:
        raise LabError(f"{cache_file}: the cache was written but cannot be read back; --cache DIR puts it elsewhere")
    return clips


def stamp(path):
    """[name, bytes, mtime in ns, ctime in ns]: what changes when a file does; ctime also where somebody has set the mtime back."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise LabError(f"{path}: a spectrogram file was expected ({reason(error)})") from error
    return [Path(path).name, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def map_cache(cache_file, stamps):
    """The mapped cache, or None where it is missing, truncated, damaged in its table, or not made from the files as they are."""
    try:
        with open(cache_file, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TRAILER.size))
            length, checksum, magic = TRAILER.unpack(file.read(TRAILER.size))
            body = size - TRAILER.size - length
            if magic != MAGIC or body < ROW_BYTES or body % ROW_BYTES:
                return None
            file.seek(body)
            encoded = file.read(length)
        if zlib.crc32(encoded) != checksum:
            return None
        table = json.loads(encoded)
    except (OSError, struct.error, ValueError):
        return None
    if any(table.get(ident, [None])[0] != current for ident, current in stamps.items()):
        return None
    return map_table(cache_file, table, body // ROW_BYTES)


def map_table(cache_file, table, n_frames):
    return PackedClips(table, np.memmap(cache_file, dtype="<f2", mode="r", shape=(n_frames, N_ROWS)), cache_file)


def write_cache(files, stamps, cache_file):
    """Reads each file once and renames the finished cache into place; what a killed process left is overwritten."""
    unfinished = cache_file.with_name(cache_file.name + ".part")
    try:
        with open(unfinished, "wb") as out:
            table, start = {}, 0
            for ident, clip in read_each(files, stamps):
                raw = clip.tobytes()
                out.write(raw)
                table[ident] = [stamps[ident], start, len(clip), zlib.crc32(raw)]
                start += len(clip)
            encoded = json.dumps(table).encode()
            out.write(encoded + TRAILER.pack(len(encoded), zlib.crc32(encoded), MAGIC))
            out.flush()
            os.fsync(out.fileno())
        os.replace(unfinished, cache_file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def read_each(files, stamps):
    """Yields (id, (T, 140) float16) file by file with a progress bar; LabError when one changes while it is being read."""
    for ident, path in progress(files.items(), f"reading {Path(next(iter(files.values()))).parent}", "clip"):
        clip = read_fused_spectrogram(path).astype("<f2")
        if stamp(path) != stamps[ident]:
            raise LabError(f"{path}: the file changed while it was being read; run again when nothing writes there")
        yield ident, clip

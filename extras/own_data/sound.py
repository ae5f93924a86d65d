"""An audio file's true length and samples, also where its header is wrong, or the file is cut off or damaged.

libsndfile believes a header. An MP3 file without one gets an estimate, and nothing behind that can be read; a download
that was cut off keeps the length of the whole. So the frames of an MP3 file are counted, other formats are decoded once.
"""

import contextlib
import io
import math
import mmap
import os
import re
import stat
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import LabError, reason

ONLY_FFMPEG = tuple(
    ".3gp .aac .ac3 .alac .amr .ape .asf .avi .dff .dsf .dts .eac3 .flv .m4a .m4b .mka .mkv .mov .mp4 .mpc .ra .rm "  # noqa: SIM905
    ".spx .tak .tta .weba .webm .wma .wv".split()
)
BLOCK = 2**13  # samples of each channel that are decoded at a time
UNKNOWN = 2**62  # samples; libsndfile claims this many and more where a header gives no length
SILENCE = -70.0  # dBFS; the noise of 16-bit dither is at -96, a very quiet piano piece at -50
KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
# libsndfile's log on what the header claims and what the file has, in bytes, and on where it met what it does not know
LYING = re.compile(r"(?:data|SSND|BODY|Data Size|riff|Riff size) *: *(\d+) \(should be (\d+)\)")
STOPPED = re.compile(r"Unknown chunk marker.* at position (\d+)")
UNREAD = 0.02  # of a file's size; tags and other small things behind the sound are not worth a note
STREAMED = 2**31 - 2**16  # bytes; programs that write into a pipe claim about 2 or 4 GB
# kbit/s by (MPEG-1?, layer), and Hz: tables of ISO 11172-3 and 13818-3
LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
BITRATES = {
    (True, 1): tuple(range(32, 449, 32)),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): LOW,
    (False, 3): LOW,
}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
LENGTH_HEADER = re.compile(rb"Xing|Info|VBRI")  # in the first frame of a file; it holds no sound
PAGE = re.compile(rb"OggS\0")
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # each byte with its bits in reverse order
FLAC_START = b"fLaC\0\0\0\x22"
TAGS_AT_END = (b"APE", b"LYR")
SLACK = 4  # frames by which an MP3 file's length may differ from its header's: those that a decoder drops at the ends


class Sound(NamedTuple):
    """A measured audio file.

    rate: Hz; length: samples of each channel that are there. spans: byte ranges of an MP3 file's frames where its header
    misleads the decoder, else empty. agrees: whether header and sound agree; if not, it is decoded from its start.
    notes: what is wrong with the file, sentences without its name.
    """

    path: os.PathLike
    rate: int
    length: int
    spans: list
    agrees: bool
    notes: list


class Seekable(io.BufferedReader):
    """A file that stays where it is when a damaged header asks for a place before its start.

    soundfile would write a traceback to stderr for each such seek.
    """

    def seek(self, offset, whence=0):
        with contextlib.suppress(OSError):
            super().seek(offset, whence)
        return self.tell()


@contextlib.contextmanager
def opened(path, spans=()):
    """The file as a soundfile.SoundFile; LabError, naming it, where it or what is read from it is no audio."""
    import soundfile

    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            found = next((name for is_kind, name in KINDS if is_kind(mode)), "a device")
            raise LabError(f"{path}: an audio file was expected, not {found}")
        if not os.path.getsize(path):
            raise LabError(f"{path}: an audio file was expected, not an empty file")
        # FileIO takes names that are not UTF-8, SoundFile does not
        with Seekable(io.FileIO(path)) as raw, soundfile.SoundFile(Frames(raw, spans) if spans else raw) as file:
            yield file
    except LabError:
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        if (suffix := Path(path).suffix.lower()) in ONLY_FFMPEG:
            raise LabError(f"{path}: only ffmpeg reads {suffix}: convert it to .flac") from error
        why = getattr(error, "error_string", "") or reason(error)
        why = "Format not recognised." if "regular file" in why else why  # MPEG's decoder says so of rubbish
        raise LabError(f"{path}: a readable audio file was expected ({why})") from error


def measure(path):
    """The Sound of a file; LabError, naming it, where it is no audio that libsndfile reads."""
    with opened(path) as file:
        rate, claimed, layout, log = file.samplerate, file.frames, file.format, file.extra_info
        can_seek = file.seekable()
        if layout != "MP3":
            length = sum(map(len, decoded(file)))
    if layout == "MP3":
        return measure_mp3(path, rate, claimed)
    notes = {"OGG": check_pages, "FLAC": check_flac}.get(layout, lambda _: [])(path)
    for header, found in LYING.findall(log)[-1:]:
        if int(found) < int(header) < STREAMED:
            notes.append(f"cut off: its header claims {header} bytes, {found} are there")
    size = os.stat(path).st_size
    for position in map(int, STOPPED.findall(log)[:1]):
        if size - position > UNREAD * size:
            notes.append(f"its last {size - position} of {size} bytes are left out: by its header they are no sound")
    if length < claimed < UNKNOWN and not notes:
        notes.append(shorter(length / rate, claimed / rate))
    if layout == "OGG":
        length = claimed  # behind a gap decoding goes on at the right time
    return Sound(path, rate, length, [], length == claimed and can_seek, notes)


def shorter(found, claimed):
    return f"cut off or damaged: of the {claimed:.1f} s that its header claims, {found:.1f} s are there"


def decoded(file):
    """Yields the samples of an open SoundFile from its position on, in blocks (n, channels), up to its first error."""
    import soundfile

    with contextlib.suppress(soundfile.LibsndfileError):
        while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
            yield block


def blocks(sound):
    """Yields all samples of a Sound, in blocks (n, channels)."""
    with opened(sound.path, sound.spans) as file:
        yield from decoded(file)


def read_part(sound, start, count):
    """`count` samples of a Sound from `start` on, fewer where it has a gap: (n, channels) float32."""
    if sound.agrees:
        with opened(sound.path) as file:
            file.seek(start)
            return file.read(count, dtype="float32", always_2d=True)
    parts, position = [np.zeros((0, 1), np.float32)], 0
    for block in blocks(sound):
        part = block[max(0, start - position) : start + count - position]
        if len(part):
            parts = [*(parts if position > start else []), part]
        position += len(block)
        if position >= start + count:
            break
    return np.concatenate(parts)


def levels(samples, rate):
    """The level of each second of samples (n,), in dBFS: their standard deviation, so that a constant is silence."""
    seconds = np.array_split(samples, max(1, len(samples) // rate))
    return np.array([20 * math.log10(max(float(np.std(part, dtype=np.float64)), 1e-10)) for part in seconds])


def measure_mp3(path, rate, claimed):
    """The Sound of an MP3 file, from its frames."""
    with open(path, "rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        spans, length, slack, lost, has_header, other = mp3_frames(data)
    notes = [f"joined: {other:.1f} s of another sample rate, or of mono and stereo, are left out"] * (other > 1)
    if not spans:  # none that is known here: what the decoder makes of it counts
        return Sound(path, rate, sum(map(len, blocks(Sound(path, rate, claimed, [], True, notes)))), [], True, notes)
    if not lost and abs(length - claimed) <= slack:
        return Sound(path, rate, claimed, [], True, notes)
    if has_header and length < claimed - slack:
        notes.append(shorter(length / rate, claimed / rate))
    if has_header and length > claimed + slack:
        notes.append(f"joined: its header claims {claimed / rate:.1f} s, {length / rate:.1f} s are there and used")
    if lost:
        notes.append(f"damaged: {lost} bytes between its frames are no sound, and left out")
    length = sum(map(len, blocks(Sound(path, rate, length, spans, False, notes))))
    return Sound(path, rate, length, spans, False, notes)


def mp3_frames(data):
    """What is in an MP3 file: byte ranges, samples, slack in samples, bytes lost, has a length header?, s of other kinds.

    A frame counts if another follows it, or the end, or a tag. Frames of another kind than the first are lost; length
    headers are left out of the ranges, as are tags. Returns ([(start, stop)], int, int, int, bool, float).
    """
    spans, total, lost, has_header, first, count, other = [], 0, 0, False, None, 0, 0.0
    at = end = skip_tags(data, 0)
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 3:
        kind, size, samples = frame_of(data, at)
        after = skip_tags(data, at + size)
        at_end = after >= len(data) - 3 or data[after : after + 3] in TAGS_AT_END
        if not size or not (at_end or frame_of(data, after)[0] == kind):
            at += 1
            continue
        if first and kind != first:
            at, other = at + size, other + samples / kind[2]
            continue
        lost += at - end if first else 0
        first, count = kind, samples
        if LENGTH_HEADER.search(data, at + 4, at + 60):
            has_header = True
        elif at + size <= len(data):
            total += samples
            before = spans.pop() if spans and spans[-1][1] == at else (at, at)
            spans.append((before[0], at + size))
        at = end = after
    return spans, total, SLACK * count, lost, has_header, other


def frame_of(data, at):
    """(kind, bytes, samples) of the MP3 frame whose header stands there; (None, 0, 0) where there is none.

    kind: (version, layer, Hz, mono?); a decoder goes on as it began.
    """
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None, 0, 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, rate_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or index in (0, 15) or rate_index == 3:
        return None, 0, 0
    rate, bitrate = RATES[version][rate_index], 1000 * BITRATES[version == 3, layer][index - 1]
    kind = (version, layer, rate, head[3] >> 6 == 3)
    if layer == 1:
        return kind, 4 * (12 * bitrate // rate + padding), 384
    samples = 576 if layer == 3 and version != 3 else 1152
    return kind, samples // 8 * bitrate // rate + padding, samples


def skip_tags(data, at):
    """The position behind ID3 tags that stand there."""
    while (tag := data[at : at + 3]) in (b"ID3", b"TAG") and len(data) >= at + 10:
        size = sum((byte & 127) << shift for byte, shift in zip(data[at + 6 : at + 10], (21, 14, 7, 0), strict=True))
        at += 128 if tag == b"TAG" else 10 + size
    return at


def check_pages(path):
    """What is wrong with the pages of an Ogg file, as notes: lost or damaged ones, no end, several streams in a row."""
    numbers, lost, ends, starts, late = {}, 0, set(), set(), 0
    with open(path, "rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        while match := PAGE.search(data, at):
            at = match.start()
            head = data[at : at + 27]
            page = data[at : at + sum(data[at + 27 : at + 27 + head[-1]], 27 + head[-1])]
            if len(head) < 27 or page[22:26] != page_checksum(page):
                at += 1
                continue
            flags, stream, number = head[5], head[14:18], int.from_bytes(head[18:22], "little")
            late += bool(flags & 2 and ends)
            starts |= {stream}
            ends |= {stream} if flags & 4 else set()
            lost += max(0, number - numbers.get(stream, number - 1) - 1)
            numbers[stream] = number
            at += len(page)
    notes = []
    if lost:
        notes.append(f"damaged: {lost} of its pages of sound are lost")
    if late:
        notes.append(f"joined: it holds {late + 1} streams one behind the other, of which the first is used")
    if starts - ends:
        notes.append("cut off: its last page is not there")
    return notes


def page_checksum(page):
    """The checksum of an Ogg page, 4 bytes: zlib's CRC of it, all bits mirrored and none inverted."""
    crc = zlib.crc32((page[:22] + bytes(4) + page[26:]).translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(MIRRORED)


def check_flac(path):
    """A note where a second FLAC file follows the first in the same file."""
    with open(path, "rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        joined = data.find(FLAC_START, data.find(FLAC_START) + 1) > 0  # the first may stand behind a tag
    return ["joined: it holds several FLAC files one behind the other, of which the first is used"] * joined


class Frames(io.RawIOBase):
    """The frames of an MP3 file as a file of their own, which claims to be longer than it is.

    The decoder estimates a length from the size, and stops there; with too long an estimate it goes on to the end.
    """

    CLAIMED = 1000  # times its size; the loudest frames are 40 times as long as the quietest
    TAG = 4096  # bytes at the claimed end where a tag is looked for

    def __init__(self, raw, spans):
        self.raw, self.spans, self.position = raw, spans, 0
        self.claimed = self.CLAIMED * sum(stop - start for start, stop in spans) + self.TAG

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self.position

    def seek(self, offset, whence=io.SEEK_SET):
        self.position = offset + (0, self.position, self.claimed)[whence]
        return self.position

    def readinto(self, buffer):
        if self.position >= self.claimed - self.TAG:
            content = bytes(max(0, min(len(buffer), self.claimed - self.position)))
        else:
            content = self.content(len(buffer))
        buffer[: len(content)] = content
        self.position += len(content)
        return len(content)

    def content(self, size):
        """Up to `size` bytes from the position on, of one span."""
        before = 0
        for start, stop in self.spans:
            if self.position < before + stop - start:
                self.raw.seek(start + self.position - before)
                return self.raw.read(min(size, before + stop - start - self.position))
            before += stop - start
        return b""

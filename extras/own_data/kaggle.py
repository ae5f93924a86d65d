"""The lab's data set from Kaggle: by kagglehub, or from its zip, unpacked so that nothing lands anywhere but in the
data folder.
"""

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from common.errors import LabError, reason
from common.locations import EMOTIONS, FOLDERS, GENRES
from common.progress import progress
from extras.writeup.expected import EMOTION_CLIPS, GENRE_CLIPS

HANDLE = "geoparslp/patreco3-multitask-affective-music"
SPLITS = ("train", "test")
ROW_BYTES = 140 * 8  # one frame in float64
FRAMES = 1292 + 60  # of a clip at full length, and about so many beat-synced


def known_counts():
    """How many files the lab's data set has, {"<folder>/<split>": count}."""
    by_set = {GENRES: [sum(counts) for counts in zip(*GENRE_CLIPS.values(), strict=True)], EMOTIONS: EMOTION_CLIPS}
    return {
        f"{name}{tail}/{split}": by_set[name][number]
        for name in by_set
        for tail in ("", "_beat")
        for number, split in enumerate(SPLITS)
    }


def compare_counts(splits):
    """Sentences on where a survey's splits, {"<folder>/<split>": {"ids": ...}}, have other numbers of files than the
    lab's data set.
    """
    expected = known_counts()
    found = {key: len(splits[key]["ids"]) if key in splits else 0 for key in expected}
    return [
        f"{key}: {expected[key]} files were expected, but there are {found[key]}"
        for key in expected
        if found[key] != expected[key]
    ]


def download():
    """Fetches the data set into kagglehub's folder, from where it left off, and returns that folder.

    Raises LabError without kagglehub, where the disk has no room for about 8 GB, and where Kaggle refuses.
    """
    try:
        import kagglehub
    except ImportError as error:
        raise LabError(
            "--kaggle: kagglehub was expected: python -m pip install -r requirements-kaggle.txt; or give --zip the file downloaded from "
            f"https://www.kaggle.com/datasets/{HANDLE}"
        ) from error
    cache = Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub")
    there = sum(path.stat().st_size for path in (cache / "datasets" / HANDLE).rglob("*") if path.is_file())
    require_space(
        cache, sum(known_counts().values()) // 2 * FRAMES * ROW_BYTES - there, "KAGGLEHUB_CACHE=DIR in the environment"
    )
    try:
        return Path(kagglehub.dataset_download(HANDLE))
    except Exception as error:  # its own kinds, those of requests, and the disk's
        raise LabError(
            f"--kaggle: {HANDLE} could not be fetched ({reason(error)}); run again to go on, or give its zip from the browser to --zip"
        ) from error


def require_space(folder, needed, other):
    """LabError unless the disk of a folder, which may not be there yet, has `needed` bytes free; `other` says how to
    name another one.
    """
    folder = Path(folder).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise LabError(
            f"{folder}: {needed / 1e9:.1f} GB free were expected, but only {free / 1e9:.1f} are; {other} names another disk"
        )


def unpack(archive_path, root):
    """Unpacks the lab's four folders out of a zip into the folder `root`; what is there already, whole, is passed over.

    Wherever in the zip the four folders lie, they come to lie in `root` itself; anything else in it is left out. Raises
    LabError, before a byte is written, for a zip that is none or has no such folders, that holds a path leading out of
    it, a link or the same file twice, for a `root` with anything else in it, and for too small a disk.
    """
    archive_path, root = Path(archive_path).expanduser(), Path(root).expanduser().resolve()
    if not archive_path.is_file():
        raise LabError(f"--zip {archive_path}: the zip of Kaggle's page was expected, but there is no such file")
    try:
        with zipfile.ZipFile(archive_path) as archive:
            members = safe_members(archive_path, archive)
            refuse_foreign(root)
            waiting = [(info, root / target) for info, target in members if not is_there(info, root / target)]
            require_space(root, sum(info.file_size for info, _ in waiting), "--data DIR")
            for info, target in progress(waiting, f"unpacking {archive_path.name}", "file"):
                write_member(archive, info, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise LabError(f"{archive_path}: a whole zip was expected ({reason(error)})") from error
    except OSError as error:
        raise LabError(
            f"{archive_path}: it could not be unpacked into {root} ({reason(error)}); run again to go on"
        ) from error
    return root


def safe_members(archive_path, archive):
    """[(entry of the zip, its path below the data folder)] of the lab's files; LabError as soon as any entry at all
    cannot be trusted.
    """
    members = {}
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        parts, kind = PurePosixPath(name).parts, stat.S_IFMT(info.external_attr >> 16)
        if name.startswith("/") or ".." in parts or ":" in name or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise LabError(
                f"{archive_path}: plain files within it were expected, but it holds {info.filename!r}; nothing was unpacked"
            )
        place = lab_path(parts)
        if info.is_dir() or place is None:
            continue
        if info.flag_bits & 1:
            raise LabError(f"{archive_path}: a zip without a password was expected, but {info.filename} has one")
        if str(place).casefold() in members:
            raise LabError(f"{archive_path}: each file once was expected, but there are two of {place}")
        members[str(place).casefold()] = info, place
    if not members:
        raise LabError(
            f"{archive_path}: a zip with the lab's folders was expected, but it holds no {FOLDERS[0]}/train/*.npy"
        )
    return list(members.values())


def lab_path(parts):
    """The path of a lab file below the data folder, fma_genre_spectrograms/train/1042.fused.full.npy; None for any
    other file.
    """
    start = next((number for number, part in enumerate(parts) if part in FOLDERS), len(parts))
    rest = parts[start:]
    is_labels = len(rest) == 2 and rest[1] in {f"{split}_labels.txt" for split in SPLITS}
    is_clip = len(rest) == 3 and rest[1] in SPLITS and rest[2].endswith((".npy", ".npy.gz"))
    return PurePosixPath(*rest) if is_labels or is_clip else None


def refuse_foreign(root):
    """LabError where the folder is there and holds anything but the lab's four folders."""
    names = {path.name for path in root.iterdir() if not path.name.startswith(".")} if root.exists() else set()
    if names - set(FOLDERS):
        raise LabError(
            f"{root}: a new folder or one with a part of the lab's data was expected, but it holds {min(names - set(FOLDERS))}"
        )


def is_there(info, target):
    """Is a file unpacked already? Files get their name when they are whole; LabError where one of another size has it."""
    if not target.exists():
        return False
    if target.stat().st_size != info.file_size:
        raise LabError(
            f"{target}: {info.file_size} bytes as in the zip were expected, it is another file; --data DIR names another folder"
        )
    return True


def write_member(archive, info, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".part")
    with archive.open(info) as source, open(unfinished, "wb") as out:  # whose end zipfile checks against size and CRC
        shutil.copyfileobj(source, out)
    os.replace(unfinished, target)

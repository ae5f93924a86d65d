"""The lab's data set from Kaggle: downloaded by kagglehub, or unpacked from the zip of its page."""

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from common.errors import LabError, reason
from common.files import part_of
from common.locations import EMOTIONS, FOLDERS, GENRES
from common.progress import progress
from extras.writeup.expected import EMOTION_CLIPS, GENRE_CLIPS

HANDLE = "geoparslp/patreco3-multitask-affective-music"
SPLITS = ("train", "test")
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
FRAME_BYTES = 140 * 8  # one frame in float64
FRAMES = 1292 + 60  # of a clip at full length, and about as many as that beat-synced


def known_counts():
    """The number of files in the lab's data set, {"<folder>/<split>": count}."""
    by_set = {GENRES: [sum(counts) for counts in zip(*GENRE_CLIPS.values(), strict=True)], EMOTIONS: EMOTION_CLIPS}
    return {
        f"{name}{tail}/{split}": by_set[name][number]
        for name in by_set
        for tail in ("", "_beat")
        for number, split in enumerate(SPLITS)
    }


def compare_counts(splits):
    """A sentence for each of a survey's splits that has not as many files as the lab's.

    splits: {"<folder>/<split>": {"ids": ...}}.
    """
    expected = known_counts()
    found = {key: len(splits[key]["ids"]) if key in splits else 0 for key in expected}
    return [
        f"{key}: {expected[key]} files were expected, but there are {found[key]}"
        for key in expected
        if found[key] != expected[key]
    ]


def download():
    """Downloads the data set to kagglehub's cache, or resumes the download, and returns the folder.

    Raises LabError if kagglehub is not installed, the disk has no room for about 8 GB, or the download fails.
    """
    try:
        import kagglehub
    except ImportError as error:
        install = "python -m pip install -r requirements-kaggle.txt"
        page = f"https://www.kaggle.com/datasets/{HANDLE}"
        raise LabError(
            f"--kaggle: kagglehub was expected: {install}; or use --zip with the file from {page}"
        ) from error
    cache = Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub")
    downloaded = sum(path.stat().st_size for path in (cache / "datasets" / HANDLE).rglob("*") if path.is_file())
    size = sum(known_counts().values()) // 2 * FRAMES * FRAME_BYTES
    require_space(cache, size - downloaded, "KAGGLEHUB_CACHE=DIR in the environment")
    try:
        return Path(kagglehub.dataset_download(HANDLE))
    except Exception as error:  # of kagglehub, requests or the disk
        retry = "run again to resume, or use --zip with the file from the browser"
        raise LabError(f"--kaggle: {HANDLE} could not be downloaded ({reason(error)}); {retry}") from error


def require_space(folder, needed, option):
    """LabError unless the disk of `folder` has `needed` bytes free; the folder need not exist.

    option: how the user chooses another disk.
    """
    folder = Path(folder).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        found = f"only {free / 1e9:.1f} are; use another disk with {option}"
        raise LabError(f"{folder}: {needed / 1e9:.1f} GB free were expected, but {found}")


def unpack(archive_path, root):
    """Unpacks the lab's four folders from a zip into the folder `root`; files that are there already are skipped.

    The four folders may be anywhere in the zip; all other files in it are ignored. Raises LabError, before a byte is
    written, for a file that is not a zip, a zip without the folders, one with a path that leads out of it, a link or
    a file twice, for a `root` with other files in it, and for a disk that is too small.
    """
    archive_path, root = Path(archive_path).expanduser(), Path(root).expanduser().resolve()
    if not archive_path.is_file():
        raise LabError(f"--zip {archive_path}: the zip from Kaggle's page was expected, but there is no such file")
    try:
        with zipfile.ZipFile(archive_path) as archive:
            entries = lab_entries(archive_path, archive)
            refuse_foreign(root)
            waiting = [(info, root / target) for info, target in entries if not is_unpacked(info, root / target)]
            require_space(root, sum(info.file_size for info, _ in waiting), "--data DIR")
            for info, target in progress(waiting, f"unpacking {archive_path.name}", "file"):
                write_entry(archive, info, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise LabError(f"{archive_path}: a whole zip was expected ({reason(error)})") from error
    except OSError as error:
        what = f"it could not be unpacked into {root} ({reason(error)}); run again to resume"
        raise LabError(f"{archive_path}: {what}") from error
    return root


def lab_entries(archive_path, archive):
    """[(entry of the zip, its path in the data folder)] of the lab's files; LabError if any entry is unsafe."""
    entries = {}
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        parts, kind = PurePosixPath(name).parts, stat.S_IFMT(info.external_attr >> 16)
        if name.startswith("/") or ".." in parts or ":" in name or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            found = f"it holds {info.filename!r}; nothing was unpacked"
            raise LabError(f"{archive_path}: plain files inside the folder were expected, but {found}")
        path = lab_path(parts)
        if info.is_dir() or path is None:
            continue
        if info.flag_bits & 1:
            raise LabError(f"{archive_path}: a zip without a password was expected, but {info.filename} has one")
        if info.compress_type not in READABLE:
            what = (
                "Deflate64, as Windows packs large files" if info.compress_type == 9 else f"method {info.compress_type}"
            )
            unpack_it = "unpack it with 7-Zip or Explorer, and give the folder by --data DIR instead of --zip"
            raise LabError(
                f"{archive_path}: {info.filename} is packed by {what}, which Python cannot read; {unpack_it}"
            )
        if str(path).casefold() in entries:
            raise LabError(f"{archive_path}: each file once was expected, but there are two of {path}")
        entries[str(path).casefold()] = info, path
    if not entries:
        found = f"it holds no {FOLDERS[0]}/train/*.npy"
        raise LabError(f"{archive_path}: a zip with the lab's folders was expected, but {found}")
    return list(entries.values())


def lab_path(parts):
    """A lab file's path in the data folder, fma_genre_spectrograms/train/1042.fused.full.npy; None for other files."""
    start = next((number for number, part in enumerate(parts) if part in FOLDERS), len(parts))
    rest = parts[start:]
    is_labels = len(rest) == 2 and rest[1] in {f"{split}_labels.txt" for split in SPLITS}
    is_clip = len(rest) == 3 and rest[1] in SPLITS and rest[2].endswith((".npy", ".npy.gz"))
    return PurePosixPath(*rest) if is_labels or is_clip else None


def refuse_foreign(root):
    """LabError where the folder exists and has anything but the lab's four folders in it."""
    names = {path.name for path in root.iterdir() if not path.name.startswith(".")} if root.exists() else set()
    if names - set(FOLDERS):
        found = f"it holds {min(names - set(FOLDERS))}"
        raise LabError(f"{root}: a new folder, or one with a part of the lab's data, was expected, but {found}")


def is_unpacked(info, target):
    """Whether an entry is unpacked already: files get their name when they are complete. LabError on another size."""
    if not target.exists():
        return False
    if target.stat().st_size != info.file_size:
        other = "it is another file; use another folder with --data DIR"
        raise LabError(f"{target}: {info.file_size} bytes as in the zip were expected, {other}")
    return True


def write_entry(archive, info, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = part_of(target)
    try:
        with archive.open(info) as source, open(unfinished, "xb") as out:  # zipfile checks size and CRC
            shutil.copyfileobj(source, out)
        os.replace(unfinished, target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise

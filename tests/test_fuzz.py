"""Whatever stands in a file or on the command line: the right result or the project's own error with the file's name,
nothing else.

600 mutated inputs in the suite, the same ones every time; FUZZ_EXAMPLES in the environment asks for so many of each
kind, other ones each time (make soak). With -s the last lines count what came out.
"""

import gzip
import io
import json
import os
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import step5_lstm
import step7_cnn
import step8_regression
import step9_transfer
import step10_multitask
from common.cache import open_clips
from common.checkpoints import read_checkpoint
from common.comparison import read_runs
from common.dataset import Clips
from common.errors import LabError
from common.features import N_FEATURES
from common.files import save_checkpoint
from common.labels import AXES, CLASS_MAPPING, load_class_mapping, read_emotion_labels, read_genre_labels
from common.reading import read_fused_spectrogram
from common.resume import read_states
from common.submission import write_submission
from extras.inside.digits import read_idx

STEPS = (step5_lstm, step7_cnn, step8_regression, step9_transfer, step10_multitask)
EXAMPLES = os.environ.get("FUZZ_EXAMPLES")
mutate = settings(max_examples=int(EXAMPLES or 60), derandomize=not EXAMPLES, database=None, deadline=None)
OUTCOMES = Counter()

# What a hand, a disk or an enemy does to a file: pieces that mean something to one of the formats, put at any place.
PIECES = [
    b"",
    b"\0",
    b"\xff",
    b"\n",
    b"\r",
    b"\t",
    b",",
    b".",
    b'"',
    b"{",
    b"]",
    b"nan",
    b"1e999",
    b"-1",
    b"null",
    b"[[",
    b"\xef\xbb\xbf",
]
PIECES += [
    b"'<f8'",
    b"'|O'",
    b"(140, 0)",
    b"999999999999",
    b"cos\nsystem\n",
    b"PK\x03\x04",
    "Ρεμπέτικο".encode(),
    b"\xcc\x81",
    b"\x1b[31m",
]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "delete", "truncate", "repeat", "overwrite"]),
        st.floats(0, 1),
        st.one_of(st.sampled_from(PIECES), st.binary(max_size=12)),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=4,
)


def edited(content, edits):
    """The bytes after each edit: what to do, where as a share of the length, with which piece, how many bytes."""
    for what, where, piece, count in edits:
        place = min(int(where * len(content)), len(content) - 1) if content else 0
        head, tail = content[:place], content[place:]
        if what == "flip" and tail:
            content = head + bytes([tail[0] ^ (1 << count % 8)]) + tail[1:]
        else:
            content = {
                "insert": head + piece + tail,
                "delete": head + tail[count:],
                "truncate": head,
                "repeat": head + tail[:count] + tail,
                "overwrite": head + piece + tail[len(piece) :],
            }.get(what, content)
    return content


def outcome(kind, path, read):
    """What read() returns; None, and counted as refused, where it raises the project's error with the file's name, on
    one line.
    """
    try:
        found = read()
    except LabError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000, error
        OUTCOMES[kind, "refused"] += 1
        return None
    OUTCOMES[kind, "read"] += 1
    return found


@pytest.fixture(scope="module", autouse=True)
def counts():
    yield
    for kind in sorted({kind for kind, _ in OUTCOMES}):
        print(
            f"\n{kind}: {OUTCOMES[kind, 'refused']} refused by name, {OUTCOMES[kind, 'read']} read, 0 tracebacks",
            end="",
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


GENRE_LINES = b"Id\tGenre\n1042.fused.full.npy.gz\tBlues\r\n7.fused.npy\tRock\n\n77,Jazz\n9.npy\tRock\n"


@mutate
@given(edits=EDITS, table=st.sampled_from([CLASS_MAPPING, None]))
def test_genre_labels(folder, edits, table):
    path = folder / "train_labels.txt"
    path.write_bytes(edited(GENRE_LINES, edits))
    rows = outcome("genre labels", path, lambda: read_genre_labels(path, table))
    if rows is not None:
        assert rows and len({ident for ident, _, _ in rows}) == len(rows)
        assert all(ident and genre and (table is None or genre in table) for ident, genre, _ in rows)


@mutate
@given(edits=EDITS)
def test_emotion_labels(folder, edits):
    path = folder / "emotions.txt"
    path.write_bytes(
        edited(b"Id,valence,energy,danceability\n1004,0.578,0.973,0.873\r\n1005\t0\t1\t.5\n7,0.1,0.2,0.3\n", edits)
    )
    rows = outcome("emotion labels", path, lambda: read_emotion_labels(path))
    if rows is not None:
        assert rows and all(
            ident and len(values) == 3 and all(0 <= value <= 1 for value in values) for ident, values, _ in rows
        )


@mutate
@given(edits=EDITS)
def test_class_tables(folder, edits):
    path = folder / "class_mapping.json"
    path.write_bytes(
        edited('{"Rock": "Rock", "Ρεμπέτικο": "Ελληνικά", "Chiptune": null, "Pop": "Rock"}'.encode(), edits)
    )
    table = outcome("class tables", path, lambda: load_class_mapping(folder))
    if table is not None:
        assert len(set(table.values()) - {None}) >= 2


def spectrogram(frames=4):
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).uniform(-80, 0, (140, frames)))
    return buffer.getvalue()


def is_a_clip(clip):
    return (
        clip.dtype == np.float32
        and clip.ndim == 2
        and clip.shape[1] == N_FEATURES
        and len(clip)
        and np.isfinite(clip).all()
    )


@mutate
@given(edits=EDITS, in_header=st.booleans())
def test_npy_files(folder, edits, in_header):
    whole, path = spectrogram(), folder / "1.npy"
    path.write_bytes(
        edited(whole[:128], edits) + whole[128:] if in_header else whole[:128] + edited(whole[128:], edits)
    )
    clip = outcome("npy files", path, lambda: read_fused_spectrogram(path))
    assert clip is None or is_a_clip(clip)


@mutate
@given(edits=EDITS, inside=st.booleans())
def test_gzipped_files(folder, edits, inside):
    path, right = folder / "2.npy.gz", np.load(io.BytesIO(spectrogram())).T.astype(np.float32)
    whole = spectrogram()
    path.write_bytes(
        gzip.compress(edited(whole, edits), mtime=0) if inside else edited(gzip.compress(whole, mtime=0), edits)
    )
    clip = outcome("gzipped files", path, lambda: read_fused_spectrogram(path))
    assert clip is None or is_a_clip(clip)
    assert clip is None or inside or np.array_equal(clip, right)  # gzip has a checksum of its own


@mutate
@given(edits=EDITS)
def test_checkpoints(folder, edits):
    path, weights, metadata = (
        folder / "best.pt",
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)},
        {"classes": ["Rock", "Ελληνικά"]},
    )
    save_checkpoint(path, weights, metadata)
    path.write_bytes(edited(path.read_bytes(), edits))
    found = outcome("checkpoints", path, lambda: read_checkpoint(path))
    if found is not None:
        assert found[1] == metadata
        torch.testing.assert_close(found[0], weights, rtol=0, atol=0)


@mutate
@given(edits=EDITS, both=st.booleans())
def test_saved_states(folder, edits, both):
    at = folder / "states"
    at.mkdir(exist_ok=True)
    for name, epoch in (("state.before.pt", 3), ("state.pt", 4)):
        state = {"items": [["weights", {"tensor": "0"}]]}
        save_checkpoint(
            at / name,
            {"0": torch.full((4,), float(epoch))},
            {"arguments": {}, "data": "d", "epoch": epoch, "state": state},
        )
        if both or epoch == 4:
            (at / name).write_bytes(edited((at / name).read_bytes(), edits))
    found = read_states(at, {}, "d")
    OUTCOMES["saved states", "read" if found else "refused"] += 1
    assert found or both
    for metadata, state in found.values():
        assert metadata["epoch"] in (3, 4) and torch.equal(state["weights"], torch.full((4,), float(metadata["epoch"])))


@mutate
@given(edits=EDITS, suffix=st.sampled_from([".json", ".npy"]))
def test_caches(folder, edits, suffix):
    files, cache = {}, folder / "cache" / "split.json"
    for ident in ("a", "γ"):
        files[ident] = folder / f"{ident}.npy"
        if not files[ident].exists():
            files[ident].write_bytes(spectrogram(3 + (ident == "a")))
    right = {ident: clip.tobytes() for ident, clip in ((ident, Clips(files)[ident]) for ident in files)}
    open_clips(files, cache)
    (part,) = cache.parent.glob(f"split*{suffix}")
    whole = part.read_bytes()
    part.write_bytes(edited(whole, edits))

    def read():
        clips = open_clips(files, cache)
        return {ident: clips[ident].tobytes() for ident in files}

    assert outcome("caches", part, read) in (None, right)
    if part.exists():
        part.write_bytes(whole)  # an array is made anew by its index alone


@mutate
@given(edits=EDITS, name=st.sampled_from(["metrics.json", "labels-idx1-ubyte"]))
def test_metrics_and_digits(folder, edits, name):
    path = folder / "step" / "variant" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == "metrics.json":
        path.write_bytes(
            edited(json.dumps({"data": "d", "result": {"test_acc": 0.5}, "metrics": None}).encode(), edits)
        )
        runs = outcome("metrics files", path, lambda: read_runs(folder, "step", SimpleNamespace()))
        assert runs is None or all(run["data"] == "d" for run in runs)
        path.unlink()
    else:
        path.write_bytes(edited(b"\0\0\x08\x02\0\0\0\x03\0\0\0\x02" + bytes(range(6)), edits))
        digits = outcome("idx files", path, lambda: read_idx(path))
        assert digits is None or digits.dtype == np.uint8


WORDS = [
    "0",
    "-1",
    "2",
    "1e-3",
    "nan",
    "inf",
    "1e400",
    "",
    "mel",
    "valence",
    "cnn",
    "x.pt",
    "--",
    "-",
    "Ρεμπέτικο",
    "4294967296",
    "%s",
]
FLAGS = ["--epochs", "--batch-size", "--lr", "--seed", "--seeds", "--device", "--quick", "--overfit-batch", "--resume"]
FLAGS += [
    "--features",
    "--beat",
    "--loss",
    "--model",
    "--axis",
    "--weights",
    "--ensemble",
    "--submit",
    "--freeze",
    "--pretrain-epochs",
]


@mutate
@given(step=st.sampled_from(STEPS), words=st.lists(st.sampled_from(FLAGS + WORDS), max_size=6))
def test_arguments(step, words):
    class ArgumentsAreThrough(Exception):  # noqa: N818 - nothing is wrong then
        pass

    def find_data(path, demo=None):
        raise ArgumentsAreThrough

    kept, step.find_data, said = step.find_data, find_data, io.StringIO()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stderr", said)
            step.main(words)
    except ArgumentsAreThrough:
        OUTCOMES["arguments", "read"] += 1
    except SystemExit as end:
        assert end.code == 2 and said.getvalue().startswith("error: ") and said.getvalue().count("\n") == 1
        OUTCOMES["arguments", "refused"] += 1
    except LabError as error:
        assert "\n" not in str(error)
        OUTCOMES["arguments", "refused"] += 1
    else:
        raise AssertionError("a step without data ended well")
    finally:
        step.find_data = kept


@mutate
@given(
    rows=st.dictionaries(st.text(min_size=1, max_size=5), st.tuples(*[st.floats(width=32)] * 3), min_size=1, max_size=5)
)
def test_submissions(folder, rows):
    path = folder / "solution.txt"
    path.unlink(missing_ok=True)
    outcome("submissions", path, lambda: write_submission(path, list(rows), list(rows.values())) or True)
    if path.exists():
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        assert header.split(",")[1:] == list(AXES) and len(lines) == len(rows)
        assert all(np.isfinite([float(value) for value in line.split(",")[1:]]).all() for line in lines)
        assert all(len(line.split(",")) == 4 for line in lines)

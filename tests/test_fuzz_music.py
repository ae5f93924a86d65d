"""Odd headers, tables and sounds: the right values, or the project's own error with the file's name, nothing else.

See test_fuzz.py for the edits, their number, and FUZZ_EXAMPLES.
"""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_fuzz import EDITS, edited, mutate, outcome

from common.errors import LabError
from common.labels import AXES, read_emotion_labels
from extras.own_data.listing import list_table
from extras.own_data.sound import blocks, measure

soundfile = pytest.importorskip("soundfile")

WORDS = {
    "id": ["Id", "ID", "track_id", "file name", "filename"],
    "valence": ["valence", "Valence", "V", "valence_mean"],
    "energy": ["energy", "ENERGY", "e", "mean energy"],
    "danceability": ["danceability", "Danceability", "dance", "D"],
}
TABLE = "file,genre,valence,energy,danceability,artist,split\n" + "".join(
    f"{genre}/{k}.mp3,{genre},0.{k},.{9 - k},{k / 10},{'ab'[k % 2]},{'train' if k % 3 else 'test'}\n"
    for genre in ("Rock", "Ρεμπέτικο")
    for k in range(8)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@mutate
@given(
    order=st.permutations(list(WORDS)),
    words=st.tuples(*(st.sampled_from(each) for each in WORDS.values())),
    style=st.sampled_from(["{}", '"{}"', " {} "]),
    more=st.booleans(),
    by=st.sampled_from([",", "\t"]),
)
def test_a_header_in_any_order_gives_each_axis_its_own_values(folder, order, words, style, more, by):
    names, values = dict(zip(WORDS, words, strict=True)), {"valence": 0.125, "energy": 0.5, "danceability": 0.875}
    columns = [style.format(names[each]) for each in order] + ["tempo"] * more
    fields = [style.format("1004.npy" if each == "id" else values[each]) for each in order] + ["0.3"] * more
    path = folder / "train_labels.txt"
    path.write_text(by.join(columns) + "\n" + by.join(fields) + "\n", encoding="utf-8")
    rows = outcome("headers", path, lambda: read_emotion_labels(path))
    assert rows is None or rows == [("1004", tuple(values[axis] for axis in AXES), 2)]


@mutate
@given(edits=EDITS)
def test_tables(folder, edits):
    path = folder / "music.csv"
    path.write_bytes(edited(TABLE.encode(), edits))
    try:
        found = list_table(path)
    except LabError as error:  # names the table, or a file in it
        assert (str(path) in str(error) or ".mp3: " in str(error)) and "\n" not in str(error)
    else:
        assert found.songs or found.skipped
        assert len({song.ident for song in found.songs}) == len(found.songs)
        for song in found.songs:
            assert song.split in (None, "train", "test") and (song.genre or song.emotions is not None)
            assert all(0 <= value <= 1 for value in song.emotions or ())


def sound(layout):
    wave = np.sin(np.arange(4 * 22050) * 0.05) * np.linspace(0.1, 0.5, 4 * 22050)
    content = io.BytesIO()
    soundfile.write(content, wave, 22050, format=layout)
    return content.getvalue()


SOUNDS = {layout: sound(layout) for layout in ("WAV", "OGG", "FLAC", "MP3", "AIFF")}


@mutate
@given(edits=EDITS, layout=st.sampled_from(list(SOUNDS)))
def test_sounds(folder, edits, layout):
    path = folder / f"song.{layout.lower()}"
    path.write_bytes(edited(SOUNDS[layout], edits))
    found = outcome("sounds", path, lambda: measure(path))
    if found is not None:
        length = outcome("their samples", path, lambda: sum(map(len, blocks(found))))
        # of an MP3 edited at random, what a decoder makes of the pieces is not known beforehand
        assert length is None or layout == "MP3" or length == found.length or found.notes

"""Your own music: tables by other programs, and which songs become the test split."""

from pathlib import Path

import pytest

from common.errors import LabError
from extras.own_data.listing import Song, list_folder, list_table
from extras.own_data.split import choose_test_ids, describe_split


def make(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def table(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


ROWS = "file,genre,artist_name\nRock/ά.wav,Rock,Μία\nJazz/b.wav,Jazz,Δύο\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (ROWS, "utf-16"),
        ("sep=;\n" + ROWS.replace(",", ";").replace("/", "\\"), "utf-8-sig"),
        (ROWS + "\r\n,,\r\n", "utf-8"),
    ],
)
def test_tables_of_other_programs_are_read(text, encoding, tmp_path):
    make(tmp_path / "Rock" / "ά.wav")
    make(tmp_path / "Jazz" / "b.wav")
    songs, skipped, notes = list_table(table(tmp_path / "a.csv", text, encoding))
    assert [song[:3] for song in songs] == [("Rock/ά.wav", "ά", "Rock"), ("Jazz/b.wav", "b", "Jazz")] and not skipped
    assert [song.artist for song in songs] == ["Μία", "Δύο"] and notes == ["the column artist_name is taken for artist"]


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        (ROWS, "cp1253", "a.csv, line 2: a table in UTF-8 was expected; save it as CSV UTF-8"),
        (ROWS, "utf-16-le", "save it as CSV UTF-8"),
        ("file,genre,split\na.wav,Rock,valid\n", "utf-8", "line 2: train or test was expected .*'valid'"),
        ("file,genre,split\na.wav,Rock,\n", "utf-8", "line 2: train or test was expected"),
        ("file,genre\na.wav,Rock\n./a.wav,Rock\n", "utf-8", "line 3: each file once"),
        ("file,genre\na.wav,Rock\nsub/../a.wav,Jazz\n", "utf-8", "line 3: each file once"),
        ('file,genre\n"a.wav,Rock\nb.wav,Jazz\n', "utf-8", "line 3: a row of the table was expected"),
        ('file,genre\na.wav,"Ro\nck"\n', "utf-8", "a genre in UTF-8 without TAB or line break"),
        ("file,valence,energy,danceability\na.wav,0_5,0,0\n", "utf-8", "not '0_5; 0; 0'$"),
        ("PK\3\4", "utf-8", "not an archive: unpack it, or save a spreadsheet as CSV"),
        ("ID3\3\0\0", "utf-8", "not one song"),
    ],
)
def test_other_tables_are_refused_with_a_cure(text, encoding, message, tmp_path):
    with pytest.raises(LabError, match=message):
        list_table(table(tmp_path / "a.csv", text, encoding))


def test_a_row_without_genre_is_listed_and_a_bom_between_rows_is_none(tmp_path):
    songs, skipped, _ = list_table(
        table(tmp_path / "a.csv", "file,genre\na.wav,Rock\nb.wav,\nc.wav\n\ufeffd.wav,Rock\n")
    )
    assert [song[:3] for song in songs] == [("a.wav", "a", "Rock"), ("d.wav", "d", "Rock")]
    assert skipped == [(file, "it has no genre in the table") for file in ("b.wav", "c.wav")]


def songs_by(artists):
    """[Song] from {genre: [artist or (artist, split)]}."""
    rows = [
        (genre, *(each if isinstance(each, tuple) else (each, None))) for genre, row in artists.items() for each in row
    ]
    return [
        Song(f"{genre}/{k}.wav", str(k), genre, None, artist, split) for k, (genre, artist, split) in enumerate(rows)
    ]


def test_few_artists_are_split_as_well_as_they_can_be():
    songs = songs_by({"Rock": ["a"] * 10 + ["b"] * 10, "Jazz": ["c"] * 10 + ["d"] * 10})
    test_ids = choose_test_ids(songs, 0.2, 0)
    assert {song.artist for song in songs if song.ident in test_ids} in [{x, y} for x in "ab" for y in "cd"]
    assert describe_split(songs, test_ids, 0.2) == [
        "test split: 20 of 40 clips, 8 were asked for; an artist is in one split"
    ]
    pairs = songs_by({genre: [f"{genre}{k // 2}" for k in range(7)] for genre in ("Rock", "Jazz", "Folk")})
    assert {song.genre for song in pairs if song.ident in choose_test_ids(pairs, 0.2, 0)} == {"Rock", "Jazz", "Folk"}
    alone = songs_by({"Rock": ["a", "a", "a"], "Jazz": ["b", "c", "d"]})
    assert "genre Rock: no test clip" in describe_split(alone, choose_test_ids(alone, 0.2, 0), 0.2)[0]


def test_a_second_file_of_one_name_moves_no_other_clip(tmp_path):
    for k in range(30):
        make(tmp_path / "music" / ("Rock", "Jazz")[k % 2] / f"{k}.wav")
    before = list_folder(tmp_path / "music").songs
    make(tmp_path / "music" / "Rock" / "b" / "0.wav")
    after = list_folder(tmp_path / "music").songs
    tests = [{song.file for song in songs if song.ident in choose_test_ids(songs, 0.2, 0)} for songs in (before, after)]
    assert tests[0] == tests[1] or tests[0] - tests[1] == set()


def test_a_published_split_is_taken_as_it_is():
    songs = songs_by(
        {"Rock": [("a", "train"), ("a", "test"), ("b", "train")], "Jazz": [("c", "train"), ("d", "train")]}
    )
    assert choose_test_ids(songs, None, 0) == {"1"}
    notes = describe_split(songs, {"1"}, None)
    assert len(notes) == 2 and "artists on both splits" in notes[0] and "genre Jazz: no test clip" in notes[1]
    with pytest.raises(LabError, match="--test-share"):
        choose_test_ids(songs, 0.3, 0)
    with pytest.raises(LabError, match="has none"):
        choose_test_ids([song._replace(split="test") for song in songs], None, 0)


@pytest.mark.parametrize(("held_out", "clips"), [("valid", 197), ("test", 290)])
def test_gtzans_published_split_is_a_table_of_443_and_197_or_290_clips(held_out, clips):
    songs, skipped, _ = list_table(Path(__file__).parent.parent / "docs" / "gtzan" / f"{held_out}.csv")
    found = {split: {song.ident for song in songs if song.split == split} for split in ("train", "test")}
    assert [len(found["train"]), len(found["test"]), len(skipped)] == [443, clips, 0]
    assert len({song.genre for song in songs}) == 10 and all(song.file.startswith(song.genre + "/") for song in songs)
    assert {"blues_00029", "jazz_00054", "rock_00099"} <= found["train"]
    first, last = {"valid": ("blues_00000", "rock_00085"), "test": ("blues_00012", "rock_00090")}[held_out]
    assert (min(found["test"]), max(found["test"])) == (first, last)

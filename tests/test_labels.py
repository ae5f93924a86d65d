import json

import pytest

from common.errors import LabError
from common.labels import (
    CLASS_MAPPING,
    LabelTransformer,
    clip_id,
    load_class_mapping,
    read_emotion_labels,
    read_genre_labels,
)
from common.notes import similar_names


def write(path, content):
    path.write_bytes(content.encode("utf-8"))
    return path


def test_the_labs_table_merges_twenty_genres_to_ten_classes():
    assert len(CLASS_MAPPING) == 20
    assert sorted(set(CLASS_MAPPING.values()) - {None}) == [
        "Blues", "Classical", "Electronic", "Folk", "Hip-Hop", "Jazz", "Metal", "Pop", "Rock", "Trip-Hop",
    ]  # fmt: skip
    assert sorted(genre for genre, name in CLASS_MAPPING.items() if name is None) == [
        "Indie-Rock", "International", "Old-Time", "Post-Punk", "Soundtrack",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["1042.fused.full.npy.gz", "1042.beatsync.fused.npy", "1042.full.fused.npy.gz", "1042", " 1042 "]
)
def test_every_form_of_a_name_is_the_same_clip(name):
    assert clip_id(name) == "1042"


@pytest.mark.parametrize(
    ("name", "ident"),
    [
        ("rock.00000.wav", "rock.00000"),
        ("rock.00000.fused.full.npy.gz", "rock.00000"),
        ("rock.00001.beatsync.fused.npy", "rock.00001"),
        ("1042.mel.full.npy", "1042"),
        ("1042.MP3", "1042"),
        ("1.04E+05", "1.04E+05"),  # as a spreadsheet writes 104000: no file has this name
        ("1042.fused.full (1).npy", "1042.fused.full (1)"),
        ("full.npy", "full"),
        ("1042.", "1042"),
        ("._1042.fused.full.npy", ""),
    ],
)
def test_only_the_labs_endings_are_no_part_of_an_id(name, ident):
    assert clip_id(name) == ident


def test_an_accent_written_in_two_ways_is_one_name():
    assert clip_id("e\u0301tude.npy") == clip_id("\u00e9tude.fused.full.npy")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", ["\t", ","])
def test_genre_labels_in_every_form(tmp_path, end, separator):
    lines = [
        f"Id{separator}Genre",
        f"1042.fused.full.npy.gz{separator}Blues",
        "",
        f"7.beatsync.fused.npy{separator} Rock ",
        "",
        "  ",
    ]
    path = write(tmp_path / "train_labels.txt", "\ufeff" + end.join(lines))
    assert read_genre_labels(path, CLASS_MAPPING) == [("1042", "Blues", 2), ("7", "Rock", 4)]


def test_a_genre_file_without_header_loses_no_clip(tmp_path):
    for text in ("1042.fused.full.npy.gz\tBlues\n7.fused.full.npy.gz\tRock\n", "1042\tBlues\n7\tRock\n"):
        path = write(tmp_path / "train_labels.txt", text)
        assert [row[0] for row in read_genre_labels(path, CLASS_MAPPING)] == ["1042", "7"]
        assert [row[0] for row in read_genre_labels(path, None)] == ["1042", "7"]


def test_a_blank_line_before_the_header_does_no_harm(tmp_path):
    path = write(tmp_path / "train_labels.txt", "\nId\tGenre\n1042.npy\tBlues\n")
    assert read_genre_labels(path, CLASS_MAPPING) == [("1042", "Blues", 3)]
    path = write(tmp_path / "train_labels.txt", "\nId,v,e,d\n1042,0,0.5,1\n")
    assert read_emotion_labels(path) == [("1042", (0.0, 0.5, 1.0), 3)]


def test_a_header_that_names_no_axis_is_skipped_and_printed(tmp_path, capsys):
    path = write(
        tmp_path / "train_labels.txt", "1,whatever\xff,stands,here\n1004,0.578,0.973,0.873\r\n1005\t0\t1\t.5\n\n"
    )
    assert read_emotion_labels(path) == [("1004", (0.578, 0.973, 0.873), 2), ("1005", (0.0, 1.0, 0.5), 3)]
    (line,) = capsys.readouterr().out.splitlines()
    assert str(path) in line and "names no column" in line and "valence, energy, danceability" in line


@pytest.mark.parametrize(
    ("header", "row", "values"),
    [
        ("Id,valence,energy,danceability", "7,0.1,0.2,0.3", (0.1, 0.2, 0.3)),
        ("Id,danceability,energy,valence", "7,0.1,0.2,0.3", (0.3, 0.2, 0.1)),
        ("Id.fused.full.npy.gz\tEnergy\tValence\tDanceability", "7.npy\t0.1\t0.2\t0.3", (0.2, 0.1, 0.3)),
        ("energy,danceability,valence,Id", "0.1,0.2,0.3,7", (0.3, 0.1, 0.2)),
        (",Id,valence,tempo,energy,danceability", "0,7,0.1,120,0.2,0.3", (0.1, 0.2, 0.3)),
        ("track_id,audio_features.danceability,mean_energy,VALENCE", "7,0.1,0.2,0.3", (0.3, 0.2, 0.1)),
        ("id,d,e,v", "7,0.1,0.2,0.3", (0.3, 0.2, 0.1)),
        ('"Id","danceability","energy","valence"', '"7","0.1","0.2","0.3"', (0.3, 0.2, 0.1)),
    ],
)
def test_the_header_names_the_columns(tmp_path, header, row, values):
    path = write(tmp_path / "train_labels.txt", f"{header}\n{row}\n\ufeff{header}\n")  # again, as joined files have it
    assert read_emotion_labels(path) == [("7", values, 2)]


@pytest.mark.parametrize(
    "first", ["7,.1,.2,.3", "7,0.1,0.2,0.3", "\ufeffenergy,0.1,0.2,0.3", '"7", "0.1", "0.2", "0.3"']
)
def test_an_emotion_file_without_header_loses_no_clip(tmp_path, first, capsys):
    path = write(tmp_path / "train_labels.txt", f"\n{first}\n\ufeff8.fused.full.npy,1,1,1\n")
    rows = read_emotion_labels(path)
    assert [values for _, values, _ in rows] == [(0.1, 0.2, 0.3), (1, 1, 1)] and rows[1][0] == "8"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("read", "header"),
    [
        (read_emotion_labels, "Id,valence,energy"),
        (read_emotion_labels, "Id,file,valence,energy,danceability"),  # which of the two names the clips?
        (read_emotion_labels, ",track,valence,energy,danceability"),
        (read_emotion_labels, "# labels of 2021"),
        (read_emotion_labels, "Id,valence,arousal,danceability"),
        (read_emotion_labels, "Id,valence,energy,valence"),
        (read_emotion_labels, "Id,valence,energy,danceability,danceability"),
        (read_emotion_labels, "valence,energy,danceability"),
        (read_emotion_labels, "Id,0,1,2"),
        (read_emotion_labels, "7,0.1,nan,0.3"),
        (read_emotion_labels, "7,NaN,nan,-inf"),
        (read_emotion_labels, "7,,,"),
        (read_emotion_labels, "7,0.1,1.2,0.3"),
        (lambda path: read_genre_labels(path, CLASS_MAPPING), "Id\tGenre\tGenre"),
        (lambda path: read_genre_labels(path, CLASS_MAPPING), "Track\tBluess"),
        (lambda path: read_genre_labels(path, None), "Genre"),
    ],
)
def test_a_first_line_that_is_neither_header_nor_clip_is_refused(tmp_path, read, header):
    path = write(tmp_path / "train_labels.txt", f"{header}\n7,0.1,0.2,0.3\n")
    with pytest.raises(LabError, match="line 1: "):
        read(path)


@pytest.mark.parametrize(
    "lines",
    [
        ["Song\tBlues", "7\tRock"],
        ["rock.00000.wav,Blues", "rock.00001.wav,Rock"],
        ['"Song"\t"Blues"', '"7.npy"\t"Rock"'],
        ["Genre,Id", "Blues,1", "Rock,7"],
        ["\tfilename\tgenre_top", "0\t1.npy\tBlues", "1\t7.npy\tRock"],
        ["Id\tGenre", "1\tBlues", "\ufeffId\tGenre", "\ufeff7.npy\tRock"],
        ["Song,Blues", '7.npy, "Rock"'],
    ],
)
def test_genres_with_other_headers_or_none_quoted_or_joined(tmp_path, lines):
    path = write(tmp_path / "train_labels.txt", "\n".join(lines))
    for table in (CLASS_MAPPING, None):
        rows = read_genre_labels(path, table)
        assert [genre for _, genre, _ in rows] == ["Blues", "Rock"] and "\ufeff" not in "".join(row[0] for row in rows)
        assert rows[1][0] in ("7", "rock.00001") and lines[rows[1][2] - 1].count("Rock") == 1


def test_a_quoted_genre_may_hold_a_comma(tmp_path):
    path = write(tmp_path / "train_labels.txt", '1.npy,"Folk, World"\n2.npy,"7"" Single"\n')
    assert read_genre_labels(path, None) == [("1", "Folk, World", 1), ("2", '7" Single', 2)]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("Id\tGenre\n1.npy\tBlues\n1.full.npy\tRock\n", 3, "each clip once"),
        ("Id\tGenre\n1.npy\tReggae\n", 2, "class_mapping.json"),
        ("Id\tGenre\n1.npy Blues\n", 2, "TAB or comma"),
        ("Id\tGenre\n1.npy\t\n", 2, "and genre were expected"),
        ("1.npy\tBluess\n", 1, "class_mapping.json"),
        ("1\tBluess\n", 1, "class_mapping.json"),
        ("Id\tGenre\n1.npy\tBlues\tmore\n", 2, "TAB or comma"),
    ],
)
def test_a_broken_genre_line_is_named(tmp_path, text, line, word):
    path = write(tmp_path / "train_labels.txt", text)
    with pytest.raises(LabError, match=word) as caught:
        read_genre_labels(path, CLASS_MAPPING)
    assert str(caught.value).startswith(f"{path}, line {line}:") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "row",
    ["1,0,0", "1,0,0,1.01", "1,-0.1,0,0", "1,nan,0,0", "1,inf,0,0", "1,a,0,0", ",0,0,0", "1,0_1,0,0", "1,0,0,0,0"],
)
def test_a_broken_emotion_line_is_named(tmp_path, row):
    path = write(tmp_path / "train_labels.txt", f"Id,valence,energy,danceability\n7,0.1,0.2,0.3\n{row}\n")
    with pytest.raises(LabError, match=r"line 3: .*valence, energy, danceability"):
        read_emotion_labels(path)


@pytest.mark.parametrize("content", [b"Id\tGenre\n", b"", b"\xff\xfe\x00broken"])
def test_an_empty_or_undecodable_label_file_is_named(tmp_path, content):
    path = tmp_path / "train_labels.txt"
    path.write_bytes(content)
    with pytest.raises(LabError, match=str(path)):
        read_genre_labels(path, CLASS_MAPPING)


def test_a_data_folder_brings_its_own_table(tmp_path):
    assert load_class_mapping(tmp_path) is CLASS_MAPPING
    table = {"Ρεμπέτικο": "Ελληνικά", "Reggae": None, "Jazz": "Jazz"}
    write(tmp_path / "class_mapping.json", json.dumps(table, ensure_ascii=False))
    assert load_class_mapping(tmp_path) == table
    (tmp_path / "class_mapping.json").unlink()
    (tmp_path / "class_mapping.json").symlink_to("/an absent disk/class_mapping.json")
    with pytest.raises(LabError, match=r"class_mapping\.json: a JSON object"):
        load_class_mapping(tmp_path)


def test_a_header_that_names_no_genre_is_printed(tmp_path, capsys):
    path = write(tmp_path / "train_labels.txt", "file\tStyle\n7\tRock\n")
    assert read_genre_labels(path, None) == [("7", "Rock", 2)]
    assert "line 1: a header that names no column, 'file, Style'; taken for a name, genre" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"a": 1}', '{"a": "x"}', '{"a": "x", "b": null}', '{"a": "", "b": "x"}', "[" * 100000]
)
def test_a_table_that_is_none_is_refused_by_name(tmp_path, text):
    path = write(tmp_path / "class_mapping.json", text)
    with pytest.raises(LabError, match=str(path)):
        load_class_mapping(tmp_path)


@pytest.mark.parametrize("text", ['{"a": "x", "b": "y", "a": "z"}', '{"a": "x", "b": "y", "a ": "x"}'])
def test_a_genre_that_stands_twice_in_the_table_is_refused(tmp_path, text):
    path = write(tmp_path / "class_mapping.json", text)
    with pytest.raises(LabError, match=f"{path}: each genre once was expected, but 'a' stands there twice"):
        load_class_mapping(tmp_path)


def test_names_that_are_nearly_the_same_are_paired():
    names = ["Hip Hop", "Hip-Hop", "hiphop", "Pop", "Rock", "Rock'n'Roll", "rock", "Ροκ"]
    pairs = [("Hip Hop", "Hip-Hop"), ("Hip Hop", "hiphop"), ("Rock", "rock")]
    assert similar_names(names) == pairs


def test_label_transformer_numbers_classes_in_sorted_order():
    transformer = LabelTransformer().fit(["Rock", "Blues", "Ελληνικά", "Rock"])
    assert transformer.classes_ == ["Blues", "Rock", "Ελληνικά"]
    assert transformer.transform(["Rock", "Blues"]) == [1, 0]
    assert transformer.transform("Ελληνικά") == 2
    assert transformer.inverse([2, 0]) == ["Ελληνικά", "Blues"] and transformer.inverse(1) == "Rock"
    with pytest.raises(LabError, match="Jazz"):
        transformer.transform(["Jazz"])
    with pytest.raises(IndexError):
        transformer.inverse(-1)

"""Your own music: features of tones and clicks with known pitch and tempo, and the import of folders and tables."""

import csv
import itertools
import json
import os
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("librosa", reason="needs requirements-audio.txt")
pytest.importorskip("soundfile", reason="needs requirements-audio.txt")

import librosa
import soundfile

import step0_data
from common.cli import run_script
from common.errors import LabError
from common.features import HOP_LENGTH, N_MELS, NOTES, SAMPLE_RATE
from common.labels import load_class_mapping, read_emotion_labels, read_genre_labels
from common.reading import find_spectrograms, read_fused_spectrogram
from common.spectrogram_plots import mel_band_of
from extras.demo.render import mel_filters
from extras.inside.measure import hertz_of_band
from extras.own_data.audio import JOURNAL, choose_test_ids, extract_one, import_audio
from extras.own_data.extract import beat_frames, fused_spectrograms, mel_power, read_sound
from extras.own_data.listing import Song, list_folder, list_table

pytestmark = pytest.mark.xdist_group("librosa")  # in one process: see extras/own_data/audio.py, compile_extractor
GENRES, EMOTIONS = "fma_genre_spectrograms", "multitask_dataset"


def tone(hertz, seconds=3.0, rate=SAMPLE_RATE):
    """A tone with two overtones, (n,) float32."""
    time = np.arange(int(seconds * rate)) / rate
    return np.float32(sum(0.3 * np.sin(2 * np.pi * hertz * k * time) / k for k in (1, 2, 3)))


def clicks(tempo, seconds=8.0, rate=SAMPLE_RATE):
    """Short bursts of noise `tempo` times a minute from 0.5 s on; the samples (n,), and the bursts' times in seconds."""
    rng, samples = np.random.default_rng(0), np.zeros(int(seconds * rate), dtype=np.float32)
    times = np.arange(0.5, seconds - 0.1, 60 / tempo)
    for time in times:
        start = int(time * rate)
        samples[start : start + 400] = rng.normal(0, 0.3, 400) * np.exp(-np.arange(400) / 100)
    return samples, times


def write(path, samples, rate=SAMPLE_RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


@pytest.mark.parametrize(("hertz", "note"), [(261.63, "C"), (440.0, "A"), (311.13, "D♯")])
def test_a_tone_of_known_pitch_gives_its_note_and_its_band(hertz, note):
    full, synced = fused_spectrograms(tone(hertz))
    assert full.shape == (140, 1 + 3 * SAMPLE_RATE // HOP_LENGTH) and full.dtype == synced.dtype == np.float32
    mel, chroma = full[:N_MELS], full[N_MELS:]
    assert NOTES[chroma.mean(axis=1).argmax()] == note and chroma.max() == 1 and chroma.min() >= 0
    assert abs(mel.mean(axis=1).argmax() - mel_band_of(hertz)) <= 1
    assert mel.max() == pytest.approx(0, abs=1e-5) and mel.min() == pytest.approx(-80, abs=1e-5)
    assert synced.shape == (140, 1)  # without a beat one segment, the whole clip


@pytest.mark.parametrize("tempo", [90, 120])
def test_clicks_of_known_tempo_give_the_beats_and_their_medians(tempo):
    samples, times = clicks(tempo)
    samples = samples + 0.1 * tone(440, 8.0)
    beats = beat_frames(samples)
    found = beats * HOP_LENGTH / SAMPLE_RATE
    assert np.median(np.diff(found)) == pytest.approx(60 / tempo, abs=0.03)
    assert all(np.abs(times - beat).min() < 0.06 for beat in found) and len(found) >= len(times) - 3
    full, synced = fused_spectrograms(samples)
    assert synced.shape == (140, len(beats) + 1)  # what comes before the first beat is a column too
    edges = [0, *beats, full.shape[1]]
    segments = [slice(*pair) for pair in itertools.pairwise(edges)]
    power = np.stack([np.median(mel_power(samples)[:, segment], axis=1) for segment in segments], axis=1)
    decibels = 10 * np.log10(np.maximum(power, 1e-10))  # of the medians of the power, below the largest of these
    assert synced[:N_MELS] == pytest.approx(np.maximum(decibels - decibels.max(), -80), abs=1e-3)
    assert synced[N_MELS:, 2] == pytest.approx(np.median(full[N_MELS:, segments[2]], axis=1))


def test_the_projects_scales_are_librosas():
    peaks = librosa.mel_frequencies(N_MELS + 2, fmin=0, fmax=SAMPLE_RATE / 2)[1:-1]
    assert [mel_band_of(hertz) for hertz in peaks] == pytest.approx(list(range(N_MELS)), abs=1e-9)
    assert [hertz_of_band(band) for band in range(N_MELS)] == pytest.approx(list(peaks))
    filters = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=2048, n_mels=N_MELS)
    assert np.asarray(mel_filters()) == pytest.approx(filters, rel=1e-4, abs=1e-7)  # the demo music's
    assert librosa.feature.melspectrogram(y=tone(440)).shape[1] == 1 + 3 * SAMPLE_RATE // HOP_LENGTH  # its own defaults


def test_reading_is_the_courses_mono_at_its_rate_and_from_the_middle(tmp_path):
    samples = np.stack([tone(440, 6, 44100), tone(554, 6, 44100)], axis=1)
    path = write(tmp_path / "ά.wav", samples, 44100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the decoders that librosa looks for
        expected = librosa.load(path)[0]
    assert read_sound(path) == pytest.approx(expected, abs=1e-5)
    middle = read_sound(path, 2.0)
    assert len(middle) == 2 * SAMPLE_RATE
    start = 2 * SAMPLE_RATE
    assert middle[500:-500] == pytest.approx(expected[start + 500 : start + len(middle) - 500], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp3", b"no music" * 50, "a readable audio file was expected"),
        ("b.wav", np.zeros(SAMPLE_RATE), "at least 2 s"),
        ("c.ogg", np.zeros(3 * SAMPLE_RATE), "only silence"),
        ("d.wav", None, "a readable audio file was expected"),
    ],
)
def test_unusable_files_are_refused_with_a_reason(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write(path, content)
    with pytest.raises(LabError, match=message) as raised:
        read_sound(path)
    assert str(path) in str(raised.value)


@pytest.fixture
def music(tmp_path):
    """Two genres of three songs each, one Greek, in several formats, and files to be skipped."""
    root = tmp_path / "music"
    names = (
        "Ρεμπέτικο/Το τραγούδι.wav",
        "Ρεμπέτικο/2.flac",
        "Ρεμπέτικο/3.ogg",
        "Rock/2.mp3",
        "Rock/5.au",
        "Rock/b/6.WAV",
    )
    for number, name in enumerate(names):
        write(root / name, tone(220 * 2 ** (number / 12), 2.5) + clicks(120, 2.5)[0])
    (root / "Rock" / "099134.mp3").write_bytes(b"")
    (root / "Rock" / "bad.mp3").write_bytes(b"bad" * 100)
    (root / "Rock" / "cover.jpg").write_bytes(b"")
    (root / "lost.wav").write_bytes(b"")
    return root


def test_a_folder_becomes_the_labs_layout_and_is_not_extracted_twice(music, tmp_path, monkeypatch):
    data = tmp_path / "data"
    found = import_audio(music, data, processes=1)
    assert found["clips"] == 6
    assert [file for file, _ in found["skipped"]] == ["Rock/099134.mp3", "Rock/bad.mp3", "Rock/cover.jpg", "lost.wav"]
    assert "FMA" in found["skipped"][0][1]
    table = load_class_mapping(data)
    assert table == {"Rock": "Rock", "Ρεμπέτικο": "Ρεμπέτικο"}
    for folder, words in (
        (GENRES, ("fused.full", "full.fused")),
        (f"{GENRES}_beat", ("beatsync.fused", "beatsync.fused")),
    ):
        ids = set()
        for split, word in zip(("train", "test"), words, strict=True):
            rows = read_genre_labels(data / folder / f"{split}_labels.txt", table)
            files = find_spectrograms(data / folder / split)
            assert {ident for ident, _, _ in rows} == set(files) and {genre for _, genre, _ in rows} == set(table)
            assert f".{word}.npy.gz\t" in (data / folder / f"{split}_labels.txt").read_text(encoding="utf-8")
            assert all(read_fused_spectrogram(path).shape[1] == 140 for path in files.values())
            ids |= set(files)
        assert (
            len(ids) == 6 and "Το_τραγούδι" in ids and sum(ident.startswith("2-") for ident in ids) == 2
        )  # 2.flac and 2.mp3
    assert not (data / EMOTIONS).exists() and not list(data.rglob("*.part"))

    before = {path: path.stat().st_mtime_ns for path in data.rglob("*.npy")}
    (data / "class_mapping.json").write_text(json.dumps({"Rock": "A", "Ρεμπέτικο": "B"}), encoding="utf-8")
    monkeypatch.setattr(
        "extras.own_data.audio.extract_one",
        lambda song, **_: pytest.fail(song.file) if "bad" not in song.file else "bad",
    )
    again = import_audio(music, data, processes=1)
    assert again["clips"] == 6 and again["skipped"][1] == ("Rock/bad.mp3", "bad") and len(again["skipped"]) == 4
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*.npy")} == before
    assert load_class_mapping(data) == {"Rock": "A", "Ρεμπέτικο": "B"}  # as its user has merged them


def test_it_goes_on_where_it_was_stopped_and_follows_what_changes(music, tmp_path, monkeypatch):
    data, asked = tmp_path / "data", []

    def stopped_after_two(song, **options):
        asked.append(song.file)
        if len(asked) > 2:
            raise KeyboardInterrupt
        return extract_one(song, **options)

    monkeypatch.setattr("extras.own_data.audio.extract_one", stopped_after_two)
    with pytest.raises(KeyboardInterrupt):
        import_audio(music, data, processes=1)
    with open(data / JOURNAL, "a", encoding="utf-8") as journal:
        journal.write('{"id": "2-')  # a line that was being written
    done = asked[:2]

    def counted(song, **options):
        asked.append(song.file)
        return extract_one(song, **options)

    monkeypatch.setattr("extras.own_data.audio.extract_one", counted)
    asked.clear()
    assert import_audio(music, data, processes=1)["clips"] == 6 and not set(done) & set(asked)
    asked.clear()
    write(music / "Rock" / "5.au", tone(330, 2.5))
    (music / "Ρεμπέτικο" / "3.ogg").unlink()
    assert import_audio(music, data, processes=1)["clips"] == 5 and set(asked) == {"Rock/5.au", "Rock/bad.mp3"}
    assert "3" not in {path.name.split(".")[0] for path in data.rglob("*.npy")}
    assert len(list(data.rglob("*.npy"))) == 10


@pytest.mark.soak
def test_workers_give_the_bytes_of_one_process(music, tmp_path):
    for name, processes in (("one", 1), ("two", 2)):
        import_audio(music, tmp_path / name, processes=processes)
    for path in (tmp_path / "one").rglob("*.npy"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def write_table(path, rows, delimiter=","):
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def test_a_table_with_emotions_and_artists(music, tmp_path):
    songs = list_folder(music)[0]
    rows = [["file", "genre", "Energy", "valence", "danceability", "artist", "year"]]
    for number, song in enumerate(songs):
        values = ["", "", ""] if number == 0 else [f"0,{number}", "0.25", "1"]
        rows.append([song.file, "" if number == 1 else song.genre, *values, "Μία" if number % 2 else "", "1936"])
    data = tmp_path / "data"
    found = import_audio(write_table(music / "songs.csv", rows, ";"), data, processes=1)
    assert found["clips"] == 6
    labelled = {ident: values for ident, values, _ in read_emotion_labels(data / EMOTIONS / "train_labels.txt")}
    assert len(labelled) == 5 and labelled[songs[2].ident] == (0.25, 0.2, 1.0)
    assert all(
        list(find_spectrograms(data / name / "test")) == [songs[0].ident] for name in (EMOTIONS, f"{EMOTIONS}_beat")
    )
    genre_ids = [set(find_spectrograms(data / GENRES / split)) for split in ("train", "test")]
    assert (
        len(genre_ids[0] | genre_ids[1]) == 5
        and songs[1].ident not in genre_ids[0] | genre_ids[1]
        and not genre_ids[0] & genre_ids[1]
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["name", "genre"], ["a.wav", "Rock"]], "the columns file, genre or all of .* were expected, not"),
        (
            [["file", "genre", "valence"], ["a.wav", "Rock", "1"]],
            "the columns file, genre or all of .* were expected, not",
        ),
        ([["file", "genre"]], "at least one file"),
        (
            [["file", "genre"], ["a.wav", "Rock"], ["a.wav", "Jazz"]],
            "line 3: each file once was expected, but line 2 names",
        ),
        ([["file", "genre"], ["a.wav", "Rock", "more"]], "line 2: 2 columns with a file name"),
        ([["genre", "file"], ["Rock"]], "line 2: 2 columns with a file name"),
        ([["file", "genre"], ["a" * 200_000, "Rock"]], "line 2: a row of the table"),
        ([["file", "valence", "energy", "danceability"], ["a.wav", "1", "2", "0"]], "line 2: a number within 0..1"),
        ([["file", "valence", "energy", "danceability"], ["a.wav", "1", "", "0"]], "line 2: a number within 0..1"),
    ],
)
def test_a_broken_table_is_named_with_its_line(tmp_path, rows, message):
    with pytest.raises(LabError, match=message) as raised:
        list_table(write_table(tmp_path / "songs.csv", rows))
    assert "songs.csv" in str(raised.value)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_names_that_are_long_or_no_text(tmp_path):
    genres = [tmp_path / "music" / name for name in ("Rock", "Jazz")]
    for genre in genres:
        for stem in ("1", "ά" * 120):
            write(genre / f"{stem}.wav", tone(440))
    old = os.fsencode(genres[0]) + b"/" + "Τραγούδι.wav".encode("cp1253")  # from a zip of an old Windows
    (genres[0] / "1.wav").rename(os.fsdecode(old))
    data = tmp_path / "data"
    for _ in range(2):
        found = import_audio(tmp_path / "music", data, processes=1)
        assert found == {"clips": 4, "skipped": [], "notes": []}
    ids = {ident for split in ("train", "test") for ident in find_spectrograms(data / GENRES / split)}
    assert len(ids) == 4 and max(map(len, ids)) < 70 and (data / JOURNAL).read_text(encoding="utf-8").count("\n") == 4
    (tmp_path / "table.csv").write_text("file,genre\na\0b.wav,Rock\nc.wav,Jazz\nd.wav,Jazz\n")
    with pytest.raises(LabError, match="none of 3 files can be read"):
        import_audio(tmp_path / "table.csv", tmp_path / "other")
    genres[0].rename(tmp_path / "music" / os.fsdecode("Ροκ".encode("cp1253")))
    with pytest.raises(LabError, match="a genre in UTF-8"):
        import_audio(tmp_path / "music", data)


def test_no_artist_is_in_both_splits_and_one_more_song_moves_few():
    rng = np.random.default_rng(0)
    songs = [
        Song(f"{k}.mp3", str(k), "Rock" if k % 3 else "Jazz", None, f"Artist {rng.integers(40)}") for k in range(200)
    ]
    test_ids = choose_test_ids(songs, 0.2, seed=0)
    artists = [{song.artist for song in songs if (song.ident in test_ids) == in_test} for in_test in (True, False)]
    assert not artists[0] & artists[1]
    for genre in ("Rock", "Jazz"):
        fraction = np.mean([song.ident in test_ids for song in songs if song.genre == genre])
        assert 0.15 < fraction < 0.25, genre
    assert choose_test_ids(songs, 0.2, seed=1) != test_ids == choose_test_ids(songs[::-1], 0.2, seed=0)
    alone = [song._replace(artist=None) for song in songs]
    assert len(choose_test_ids(alone, 0.2, seed=0)) == round(0.2 * 133) + round(0.2 * 67)
    moved = choose_test_ids(alone, 0.2, seed=0) ^ choose_test_ids(
        [*alone, Song("new.mp3", "new", "Rock", None, None)], 0.2, seed=0
    )
    assert len(moved) <= 3
    with pytest.raises(LabError, match="a test split"):
        choose_test_ids([song._replace(artist="one") for song in songs], 0.2, seed=0)


def test_other_files_are_not_touched_and_without_usable_files_it_ends_with_1(music, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # worker processes would import librosa again
    data = tmp_path / "data"
    data.mkdir()
    (data / "letter.txt").write_text("dear")
    with pytest.raises(LabError, match=r"holds letter\.txt"):
        import_audio(music, data, processes=1)
    assert [path.name for path in data.iterdir()] == ["letter.txt"]
    for path in music.rglob("*.*"):
        path.write_bytes(b"nothing")
    paths = ["--audio", str(music), "--data", str(tmp_path / "none"), "--out", str(tmp_path / "runs")]
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: step0_data.main(paths))
    assert ended.value.code.startswith("error: ") and "none of 10 files can be read" in ended.value.code
    with pytest.raises(LabError, match="all readable files are Rock"):
        import_audio(
            write_table(music / "one.csv", [["file", "genre"], ["lost.wav", "Rock"]]), tmp_path / "one", processes=1
        )


def test_without_librosa_one_sentence_names_the_file_to_install(music, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LabError, match=r"requirements-audio\.txt"):
        import_audio(music, tmp_path / "data")


def test_step_0_takes_it_from_there(music, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    data = tmp_path / "data"
    choices = ["--seconds", "2", "--test-share", "0.4", "--out", str(tmp_path / "runs")]
    (result,) = step0_data.main(["--audio", str(music), "--data", str(data), *choices])
    lines = capsys.readouterr().out.splitlines()
    assert result["genre_clips"] == 6 and result["multitask_clips"] == 0
    assert f"your own music: 6 clips in {data}, 4 files skipped" in lines and result["skipped"] == 4
    assert lines[-2] == f"next          : python step7_cnn.py --data {data}"
    assert next(iter(find_spectrograms(data / GENRES / "test").values())).exists()
    assert all(np.load(path).shape == (140, 87) for path in (data / GENRES).rglob("*.npy"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--audio", "x"], "--data DIR, was expected"),
        (["--test-share", "0.5"], "--test-share: --audio was expected"),
        (["--seconds", "5"], "--seconds: --demo or --audio was expected"),
        (["--audio", "x", "--data", "y", "--test-share", "1"], "a number below 1"),
        (["--audio", "x", "--demo"], "not allowed with"),
    ],
)
def test_flags_that_do_not_fit(flags, message, capsys):
    with pytest.raises(SystemExit) as ended:
        step0_data.main(flags)
    assert ended.value.code == 2 and message in capsys.readouterr().err

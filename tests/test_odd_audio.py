"""Odd music of your own: files that are listed, cut off or silent, and finished features that stay."""

import json
import os
import sys

import numpy as np
import pytest

pytest.importorskip("librosa", reason="needs requirements-audio.txt")
pytest.importorskip("soundfile", reason="needs requirements-audio.txt")

import soundfile
from test_audio import EMOTIONS, GENRES, tone, write
from test_own_tables import table

import step0_data
from common.errors import LabError
from extras.own_data.audio import import_audio, move_clip
from extras.own_data.extract import read_sound
from extras.own_data.listing import list_folder
from extras.own_data.sound import measure
from extras.songs.frames import read_song, with_sound

pytestmark = pytest.mark.xdist_group("librosa")
RATE, SECONDS = 44100, 12


@pytest.fixture(scope="module")
def sweep():
    """A tone that rises by 100 Hz a second from 300 Hz on, quiet at first: a clip shows by its pitch where it was cut."""
    time = np.arange(SECONDS * RATE) / RATE
    loud = np.where(time < 4, 0.01, 1) * (0.4 + 0.1 * np.random.default_rng(0).normal(size=len(time)) * (time > 4))
    return (loud * np.sin(2 * np.pi * (300 + 50 * time) * time)).astype(np.float32)


def middle_of(clip):
    """The second of the sweep at the middle of a clip (n,) at 22050 Hz."""
    part = clip[len(clip) // 2 - 2048 : len(clip) // 2 + 2048] * np.hanning(4096)
    return (np.abs(np.fft.rfft(part)).argmax() * 22050 / 4096 - 300) / 100


def encoded(path, samples, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", rate, 1, **options) as file:
        for start in range(0, len(samples), 8192):  # libsndfile's Vorbis encoder takes no more at a time
            file.write(samples[start : start + 8192])
    return path.read_bytes()


@pytest.fixture(scope="module")
def mp3(sweep, tmp_path_factory):
    """The sweep as MP3 of variable bit rate; the first frame, without sound, is its length header."""
    try:
        path = tmp_path_factory.mktemp("mp3") / "a.mp3"
        return encoded(path, sweep, bitrate_mode="VARIABLE", compression_level=0.3)
    except TypeError:
        pytest.skip("soundfile 0.13 writes variable bit rates")


def size_of_first_frame(content):
    return 144 * (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)[content[2] >> 4] * 1000 // RATE


RUBBISH = np.random.default_rng(1).bytes(20_000)
TAG = b"ID3\x04\0\0\0\0\x40\0" + bytes(64 * 128)


@pytest.mark.parametrize(
    ("change", "seconds", "middle", "note"),
    [
        (lambda b, n: b, 12, 6, ""),
        (lambda b, n: TAG + b + b"TAG" + bytes(125), 12, 6, ""),
        (lambda b, n: b[n:], 12, 6, ""),
        (lambda b, n: TAG + b[n:] + b"APETAGEX" + RUBBISH, 12, 6, ""),
        (lambda b, n: b[: len(b) // 2], 7.6, 3.8, "cut off or damaged: of the 12.0 s"),
        (lambda b, n: b[: len(b) // 2] + RUBBISH + b[len(b) // 2 :], 12, 6, "damaged: 2"),
        (lambda b, n: b[n:] + b[n:] + b[n:], 36, 6, ""),
        (lambda b, n: b + b"TAG" + bytes(125) + TAG + b + b, 36, 6, "joined: its header claims 12.0 s, 36.1 s"),
    ],
)
def test_an_mp3_file_has_the_length_of_its_frames(change, seconds, middle, note, mp3, tmp_path):
    path, notes = tmp_path / "a.mp3", []
    path.write_bytes(change(mp3, size_of_first_frame(mp3)))
    sound = measure(path)
    assert sound.length / sound.rate == pytest.approx(seconds, abs=0.6)
    assert middle_of(read_sound(path, 4, notes)) == pytest.approx(middle, abs=0.3)
    assert [bool(note)] == [bool(notes)] and note in "".join(notes)


@pytest.mark.parametrize(
    ("ending", "change", "seconds", "note"),
    [
        (".flac", lambda b: b[: len(b) // 2], 7.8, "cut off or damaged: of the 12.0 s"),
        (".flac", lambda b: b + b, 12, "joined"),
        (".flac", lambda b: TAG + b, 12, ""),
        (".ogg", lambda b: b[: len(b) // 2], 6.6, "cut off: its last page"),
        (".ogg", lambda b: b + b, 12, "joined"),
        (".ogg", lambda b: b[: len(b) // 2] + RUBBISH + b[len(b) // 2 + 20_000 :], 12, "pages of sound are lost"),
        (".ogg", lambda b: b[: len(b) // 2] + RUBBISH + b[len(b) // 2 :], 12, "1 of its pages of sound are lost"),
        (".wav", lambda b: b[: len(b) // 2], 6, "cut off: its header claims"),
        (".wav", lambda b: b[:40] + b"\xff" * 4 + b[44:], 12, ""),  # written into a pipe
        (
            ".wav",
            lambda b: b[:40] + (len(b) // 2).to_bytes(4, "little") + b[44:],
            6,
            "its last 529178 of 1058444 bytes",
        ),
        (".w64", lambda b: b[: len(b) // 2], 6, "cut off: its header claims"),
        (".aiff", lambda b: b[: len(b) // 2], 6, "cut off: its header claims"),
        (".au", lambda b: b[: len(b) // 2], 6, "cut off: its header claims"),
    ],
)
def test_other_files_that_are_cut_or_damaged_are_noted(ending, change, seconds, note, sweep, tmp_path):
    path, notes = tmp_path / f"a{ending}", []
    path.write_bytes(change(encoded(path, sweep)))
    sound = measure(path)
    assert sound.length / sound.rate == pytest.approx(seconds, abs=1)
    assert middle_of(read_sound(path, 2, notes)) == pytest.approx(sound.length / sound.rate / 2, abs=0.3)
    assert [bool(note)] == [bool(notes)] and note in "".join(notes)


def test_mp3_frames_that_the_decoder_leaves_out_are_noted(sweep, mp3, tmp_path):
    slow = encoded(tmp_path / "slow.mp3", sweep[: 4 * 22050], 22050)
    (tmp_path / "a.mp3").write_bytes(mp3 + slow)
    sound = measure(tmp_path / "a.mp3")
    assert sound.length / RATE == pytest.approx(12, abs=0.1)
    assert sound.notes == ["joined: 4.1 s of another sample rate, or of mono and stereo, are left out"]


def test_a_format_without_seeking_is_read_from_its_start(sweep, tmp_path):
    encoded(tmp_path / "a.wav", sweep, subtype="GSM610")
    assert middle_of(read_sound(tmp_path / "a.wav", 4)) == pytest.approx(6, abs=0.3)


NOISE = 0.1 * np.random.default_rng(2).normal(size=6 * 22050)
NOTHING = np.zeros(6 * 22050)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (NOTHING + 0.25, "only silence"),
        (NOISE / 0.1 / 2**16, "only silence"),  # as loud as dither
        (np.stack([NOISE, -NOISE], axis=1), "channels cancel"),
        (np.concatenate([NOISE, NOTHING, NOISE]), "only silence in its middle 3 s"),
        (NOISE[: 2 * 22050 - 1], "at least 2 s of sound were expected, but there are 1.999$"),
    ],
)
def test_what_is_not_heard_is_refused(samples, message, tmp_path):
    with pytest.raises(LabError, match=message):
        read_sound(write(tmp_path / "a.wav", samples), 3)


def test_samples_without_a_power_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", NOISE * 1e30, 22050, subtype="FLOAT")
    for read in (read_sound, lambda path: read_song(str(path))):
        with pytest.raises(LabError, match=r"samples within -1\.\.1 were expected, but some reach"):
            read(tmp_path / "a.wav")


def test_quiet_music_is_no_silence_and_half_a_silent_clip_is_noted(tmp_path):
    notes = []
    read_sound(write(tmp_path / "quiet.wav", NOISE / 300), 3, notes)  # -70 + 0.5 dBFS
    assert not notes
    read_sound(write(tmp_path / "half.wav", np.concatenate([NOISE, NOTHING, NOTHING])), None, notes)
    assert notes == ["67 % of it are silent (below -70 dBFS)"]


@pytest.fixture
def no_features(monkeypatch):
    """Features of the right form without the extractor, which takes seconds to start."""
    frames = np.random.default_rng(4).uniform(-60, 0, (140, 200))
    stub = lambda sound: (frames[:, : 1 + len(sound) // 512], frames[:, :3])  # noqa: E731
    monkeypatch.setattr("extras.own_data.audio.fused_spectrograms", stub)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes among files")
def test_every_file_below_the_folder_is_used_or_listed(tmp_path, monkeypatch, capsys, no_features):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    music, noise = tmp_path / "music", tone(300, 2.2)
    for name, options in {
        "Rock/a.aif": {"format": "AIFF"},
        "Rock/b.oga": {"format": "OGG"},
        "Rock/ending": {"format": "WAV"},
        "Jazz/c/d.caf": {},
        "../elsewhere/e.wav": {},
    }.items():
        encoded(music / name, noise, 22050, **options)
    encoded(music / "Jazz" / "f.opus", tone(300, 2.2, 24000), 24000, format="OGG", subtype="OPUS")
    (music / "Linked").symlink_to(tmp_path / "elsewhere")
    (music / "Loop").symlink_to(music)
    (music / "Rock" / "same.aif").symlink_to("a.aif")
    (music / "Rock" / "broken.wav").symlink_to("nowhere")
    os.mkfifo(music / "Rock" / "pipe.wav")
    (music / "Blues").mkdir()
    for name in ("Blues/x.m4a", "Blues/y.wma", "Rock/.hidden.wav", "Rock/cover.jpg", "Rock/z.opus", "text.txt"):
        (music / name).write_bytes(b"nothing")
    flags = ["--audio", str(music), "--data", str(tmp_path / "data"), "--out", str(tmp_path / "runs")]
    (result,) = step0_data.main(flags)
    files = sum(len(names) for _, _, names in os.walk(music)) + 2  # the song behind the link, the loop
    assert result["genre_clips"] == 6 and result["skipped"] == 10 and files == 16
    log = next(tmp_path.glob("runs/**/log.txt")).read_text(encoding="utf-8")
    saved = json.loads(next(tmp_path.glob("runs/**/survey.json")).read_text(encoding="utf-8"))["audio"]
    assert saved["clips"] == 6 and len(saved["skipped"]) == 10 and "skipped=10" in capsys.readouterr().out
    for file, why in saved["skipped"]:
        assert f"skipped       : {file}: {why}" in log
    reasons = dict(saved["skipped"])
    assert "ffmpeg" in reasons["Blues/x.m4a"] and "pipe" in reasons["Rock/pipe.wav"]
    assert reasons["Rock/broken.wav"] == "a link to nothing" and "Rock/a.aif" in reasons["Rock/same.aif"]
    assert "'Blues': no file in it could be used" in saved["notes"]
    assert "genre Linked: no test clip, it has one clip" in saved["notes"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["000/000002.wav", "001/001039.wav"], "000 is a number, as in FMA's layout; give a CSV table"),
        (["train/Rock/1.wav", "test/Rock/2.wav"], "test, train are splits"),
        (["M/Rock/1.wav", "M/Jazz/2.wav"], "it holds M alone, with Jazz, Rock: give .*M$"),
        (["1.wav", "2.wav"], "2 lie in it directly: give the folder above"),
        (["Rock/1.txt"], "none of its 1 files is one"),
    ],
)
def test_folders_that_are_no_genres_are_refused(names, message, tmp_path):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(LabError, match=message):
        list_folder(tmp_path)


def test_finished_features_stay_until_new_ones_are_whole(tmp_path, monkeypatch, capsys, no_features):
    music, data = tmp_path / "music", tmp_path / "data"
    for k, name in enumerate(("Rock/1.wav", "Rock/2.wav", "Jazz/3.wav", "Jazz/4.wav")):
        write(music / name, tone(200 + 50 * k, 4.2))
    rows = "".join(f"{genre}/{k}.wav,{genre}\n" for k, genre in enumerate(("Rock", "Rock", "Jazz", "Jazz"), start=1))
    source = table(music / "songs.csv", "file,genre\n" + rows)
    import_audio(source, data, seconds=3, processes=1)

    def features():
        return {path.name + path.parts[-3][-5:]: np.load(path).shape[1] for path in data.glob("*/*/*.npy")}

    first = features()
    assert len(first) == 8
    stranger = data / f"{GENRES}_beat" / "train" / "letter.txt"
    stranger.write_text("dear")
    with pytest.raises(LabError, match="--seconds 1: clips of at least 2 s"):
        import_audio(source, data, seconds=1, processes=1)
    music.rename(tmp_path / "unmounted")
    music.mkdir()
    (tmp_path / "unmounted" / "songs.csv").rename(source)
    found = import_audio(source, data, seconds=3, processes=1)
    assert features() == first and found["clips"] == 4 and "features of an earlier run are kept" in found["notes"][0]
    with pytest.raises(LabError, match="none of 4 files can be read"):
        import_audio(source, data, seconds=2, processes=1)
    assert features() == first
    source.rename(tmp_path / "unmounted" / "songs.csv")
    music.rmdir()
    (tmp_path / "unmounted").rename(music)

    def killed(root, ident, splits):
        if ident == "3":
            raise KeyboardInterrupt
        return move_clip(root, ident, splits)

    with monkeypatch.context() as patched:
        patched.setattr("extras.own_data.audio.move_clip", killed)
        with pytest.raises(KeyboardInterrupt):
            import_audio(source, data, seconds=2, processes=1)
    assert "what is done is kept, the same command goes on" in capsys.readouterr().err
    assert len(features()) == 8
    import_audio(source, data, seconds=3, processes=1)  # what the stopped run has put in place does not pass for this
    assert features() == first and stranger.exists() and not (data / EMOTIONS).exists()
    table(source, "file,genre\n" + rows.replace("Rock/1.wav,Rock\n", ""))
    found = import_audio(source, data, seconds=3, processes=1)
    assert len(
        features()
    ) == 6 and "removed: 1 of an earlier run's clips, whose files are not used now: Rock/1.wav" in str(found)


def test_windows_that_are_mostly_silent_are_left_out(tmp_path):
    frames = np.random.default_rng(3).uniform(-60, 0, (140, 600))
    frames[:128, 250:] = -80
    np.save(tmp_path / "a.npy", frames)
    song = read_song(str(tmp_path / "a.npy"))
    starts, notes = with_sound([0, 100, 180, 230, 300, 400], 100, song.loud)
    assert starts == [0, 100, 180] and notes == ["3 of 6 windows are left out: more than half of each is silent"]
    assert with_sound([230, 400], 100, song.loud)[0] == [230]  # nothing better is there


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("7.beatsync.fused.npy", "these are beat-synced"),
        ("multitask_dataset_beat/train/7.fused.full.npy", "these are beat-synced"),
        ("silent.npy", "all its mel bands are 0 dB, as of silence"),
        ("folder", "this is a folder"),
        ("song.M4A", "only ffmpeg reads .m4a: convert it to .flac"),
        ("https://example.org/a.mp3", "a file on this computer was expected"),
    ],
)
def test_what_is_no_song_is_named(name, message, tmp_path):
    if name == "folder":
        (tmp_path / name).mkdir()
    elif name.endswith(".npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / name, np.zeros((140, 50)))
    elif "://" not in name:
        (tmp_path / name).write_bytes(bytes(4000))
    with pytest.raises(LabError, match=message):
        read_song(name if "://" in name else str(tmp_path / name))

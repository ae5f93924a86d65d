"""predict.py: genres, emotions and the region that decided, recomputed from weights and a song's windows."""

import hashlib
import json
import math
import re

import numpy as np
import pytest
import torch
from by_hand import CNN, Headed, read_weights
from reading_runs import AXIS, reading_runs, watched_script
from runs import numbers
from small_data import AXES, CLASSES, GENRES, TILT, clip
from warm import warm_script

RATE, HOP = 22050, 512
SECONDS, LENGTH, FRAMES = 1.5, 65, 260  # length of a window, its frames, frames of the song
DEMO_SECONDS, DEMO_LENGTH = 2.0, 87  # of the demo network's clips
PARTS = (10, 8)  # a region is a tenth of the window by an eighth of the bands
REGION = re.compile(r"([\d.]+) to ([\d.]+) s, (\d+) to (\d+) Hz")
DROP = re.compile(r"log-probability .*?([\d.]+)$")
TRAIN, DEMO, SHORTER = re.compile("trained with"), re.compile("DEMO"), re.compile("shorter than a window")


@pytest.fixture(scope="session")
def runs(shared_folder, small):
    return reading_runs(shared_folder, small).root


@pytest.fixture(scope="session")
def song():
    """(140, FRAMES): three parts with the spectra of three genres, at three levels."""
    rng = np.random.default_rng(11)
    parts = [clip(rng, 87, TILT[name]) for name in ("Jazz", "Ρεμπέτικο", "Rock")]
    for part, level in zip(parts, (-9, 0, -4), strict=True):
        part[:128] += level
    return np.hstack(parts)[:, :FRAMES]


@pytest.fixture(scope="session")
def songs(song, small, tmp_path_factory):
    """Paths of the song, of one that is shorter than a window, and of a training and a test clip."""
    folder = tmp_path_factory.mktemp("songs")
    np.save(folder / "long.npy", song)
    np.save(folder / "short.npy", song[:, :40])
    (train_clip, *_), (test_clip, *_) = small.genres[GENRES, "train"], small.genres[GENRES, "test"]
    for split, ident in (("train", train_clip), ("test", test_clip)):
        np.save(folder / f"{ident}.fused.full.npy", small.frames[GENRES, split][ident])
    return [
        folder / "long.npy",
        folder / "short.npy",
        folder / f"{train_clip}.fused.full.npy",
        folder / f"{test_clip}.fused.full.npy",
    ]


def network(path):
    weights, metadata = read_weights(path)
    model = Headed(CNN(), len(metadata["classes"]))
    model.load_state_dict(weights)
    return model.eval()


def window_starts(frames, length):
    """Evenly over the song, about half a window apart, the first at its start and the last at its end."""
    count = 1 + max(0, round(2 * (frames - length) / length))
    return [round(k * (frames - length) / (count - 1)) for k in range(count)] if count > 1 else [0]


def windows(frames, length):
    """(n, length, 128) of a song (140, T): each in dB re its own maximum, -80 at least."""
    length = min(length, frames.shape[1])
    found = [frames[:128, start : start + length].T for start in window_starts(frames.shape[1], length)]
    return np.stack([np.maximum(each - each.max(), -80) for each in found]).astype(np.float32)


@torch.no_grad()
def outputs_of(model, clips):
    """(n, outputs) float64 for clips (n, T, 128)."""
    parts = np.array_split(np.asarray(clips), math.ceil(len(clips) / 32))
    return torch.cat(
        [model(torch.from_numpy(each), torch.tensor([each.shape[1]] * len(each))) for each in parts]
    ).double()


def probabilities(path, clips):
    return outputs_of(network(path), clips).softmax(1).numpy()


def check_genres(answer, expected):
    assert [answer["genres"][name] for name in CLASSES] == pytest.approx(expected, abs=2e-4)
    assert answer["genre"] == CLASSES[int(np.argmax(expected))] == next(iter(answer["genres"]))
    assert list(answer["genres"].values()) == sorted(answer["genres"].values(), reverse=True)


def test_means_over_all_windows_and_notes(runs, songs, tmp_path):
    flags = ["--out", runs, "--window", SECONDS]
    answers = json.loads(warm_script("predict.py", *songs, *flags, "--json", root=tmp_path / "x").out)
    notes = [
        [bool(pattern.search(note)) for pattern in (TRAIN, SHORTER)] for note in (" ".join(a["notes"]) for a in answers)
    ]
    assert [train for train, _ in notes] == [False, False, True, False] and not any(
        DEMO.search(str(a)) for a in answers
    )
    short = [np.load(path).shape[1] < 0.95 * LENGTH for path in songs]
    assert [shorter for _, shorter in notes] == short and short[:2] == [False, True]
    genres, emotions = runs / "step7_cnn" / "mel_seed0" / "best.pt", runs / "step10_multitask" / "cnn_seed0" / "best.pt"
    for path, answer in zip(songs, answers, strict=True):
        frames = np.load(path)
        clips = windows(frames, LENGTH)
        by_window, values = probabilities(genres, clips), outputs_of(network(emotions), clips).numpy()
        check_genres(answer, by_window.mean(axis=0))
        assert [answer["emotions"][axis] for axis in AXES] == pytest.approx(values.mean(axis=0), abs=2e-4)
        assert answer["windows"] == len(clips) and answer["seconds"] == round(frames.shape[1] * HOP / RATE, 1)
        assert answer["file"] == str(path) and answer["networks"] == [str(genres), str(emotions)]
        if path == songs[0]:  # its windows differ
            assert len(clips) == 7 and np.ptp(by_window, axis=0).max() > 0.05 and np.ptp(values, axis=0).min() > 0.005
    printed = warm_script("predict.py", songs[0], *flags, root=tmp_path / "x").lines
    words = [line.split() for line in printed]
    values = {line[0]: float(line[1]) for line in words if line and line[0] in (*CLASSES, *AXES)}
    assert values == pytest.approx({**answers[0]["genres"], **answers[0]["emotions"]}, abs=6e-4)
    (head,) = [line for line in printed if str(songs[0]) in line]
    assert numbers(head.removeprefix(str(songs[0]))) == [answers[0]["seconds"], answers[0]["windows"]]


def spans(size, parts):
    width = math.ceil(size / parts)
    starts = [*range(0, size - width, max(1, width // 2)), size - width]
    return [(start, start + width) for start in starts]


def drops(model, window, target):
    """[(frames, bands, drop of the class's log-probability)]: a hidden band takes its mean over the window."""
    regions = [(time, bands) for time in spans(len(window), PARTS[0]) for bands in spans(window.shape[1], PARTS[1])]
    clips, level = np.repeat(window[None], 1 + len(regions), axis=0), window.mean(axis=0)
    for covered, ((start, stop), (low, high)) in zip(clips[1:], regions, strict=True):
        covered[start:stop, low:high] = level[low:high]
    whole, *left = outputs_of(model, clips).log_softmax(1)[:, target].tolist()
    return [(*region, whole - each) for region, each in zip(regions, left, strict=True)]


def mean_map(found, shape):
    """For each frame and band the mean of the drops of all regions that cover it."""
    total, count = np.zeros(shape), np.zeros(shape)
    for (start, stop), (low, high), drop in found:
        total[start:stop, low:high] += drop
        count[start:stop, low:high] += 1
    return total / count


def hertz(band):
    """Centre of a mel band on Slaney's scale: 130 points evenly spaced from 0 to half the rate, band 0 the second."""
    top = 15 + 27 * math.log(RATE / 2 / 1000) / math.log(6.4)
    mel = (band + 1) / 129 * top
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def write_demo_checkpoint(path, target):
    """The checkpoint as if its network had been trained on demo music, with the checksum of its metadata and weights."""
    weights, metadata = read_weights(path)
    text = json.dumps({**metadata, "demo": {"seconds": DEMO_SECONDS}})
    checksum = hashlib.sha256(text.encode())
    for name, tensor in sorted(weights.items()):
        checksum.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    torch.save({"weights": weights, "metadata": text, "sha256": checksum.hexdigest()}, target)


def test_several_networks_and_the_region_that_decided(runs, songs, song, tmp_path):
    """Networks for one task are averaged; the region is in the window where the predicted genre is likeliest."""
    step7, step9 = runs / "step7_cnn" / "mel_seed0" / "best.pt", runs / "step9_transfer" / "genres_seed0" / "best.pt"
    step8, step10 = (
        runs / "step8_regression" / f"cnn_{AXIS}_seed0" / "best.pt",
        runs / "step10_multitask" / "cnn_seed0" / "best.pt",
    )
    write_demo_checkpoint(step7, tmp_path / "demo.pt")
    paths = [tmp_path / "demo.pt", step9, step8, step10]
    flags = ["--json", "--figure", tmp_path / "song.png", "--checkpoint", *paths]
    done = watched_script("predict.py", songs[0], *flags, images=tmp_path / "drawn.npz", root=tmp_path / "x")
    (answer,) = json.loads(done.out)
    assert any(DEMO.search(note) for note in answer["notes"])
    clips = windows(song, DEMO_LENGTH)  # as long as the first network's clips
    both = (probabilities(step7, clips) + probabilities(step9, clips)) / 2
    check_genres(answer, both.mean(axis=0))
    lengths = [read_weights(path)[1]["clip_frames"] for path in (step10, step8)]  # else as long as their training clips
    assert all(33 < length < 71 for length in lengths)
    values, energies = (
        outputs_of(network(path), windows(song, length)).numpy().mean(axis=0)
        for path, length in zip((step10, step8), lengths, strict=True)
    )
    energy = (values[AXES.index(AXIS)] + energies[0]) / 2
    expected = {**dict(zip(AXES, values, strict=True)), AXIS: energy}
    assert answer["emotions"] == pytest.approx(expected, abs=2e-4)

    target = CLASSES.index(answer["genre"])
    likeliest, least = int(both[:, target].argmax()), int(both[:, target].argmin())
    starts = window_starts(FRAMES, DEMO_LENGTH)
    assert abs(starts[likeliest] - starts[least]) >= DEMO_LENGTH and len({*both.argmax(axis=1).tolist()}) > 1
    found = drops(network(step7), clips[likeliest], target)
    (start, stop), (low, high), drop = max(found, key=lambda region: region[2])
    assert drop > 0
    begin, end, *tones = map(float, REGION.search(answer["decided"]).groups())
    assert [begin, end] == pytest.approx(
        [(starts[likeliest] + frame) * HOP / RATE for frame in (start, stop)], abs=0.06
    )
    assert tones == pytest.approx([max(0, hertz(band - 0.5)) for band in (low, high)], abs=1)
    assert float(DROP.search(answer["decided"])[1]) == pytest.approx(drop, abs=6e-4)
    drawn = np.load(tmp_path / "drawn.npz")
    expected = mean_map(found, clips[0].shape).T
    images = [image[:, -DEMO_LENGTH:] for image in drawn.values() if image.shape[1] == starts[likeliest] + DEMO_LENGTH]
    assert any(image.shape == expected.shape and np.allclose(image, expected, atol=1e-4) for image in images)


def test_a_sound_in_three_parts(runs, tmp_path):
    """A wav file is read whole; each window's mel is in dB re its own maximum."""
    soundfile, librosa = pytest.importorskip("soundfile"), pytest.importorskip("librosa")
    times, rng = np.arange(2 * RATE) / RATE, np.random.default_rng(3)
    parts = [
        0.02 * rng.normal(size=len(times)),
        0.5 * np.sin(2 * np.pi * 440 * times),
        0.2 * np.sign(np.sin(2 * np.pi * 110 * times)),
    ]
    sound = np.concatenate(parts).astype(np.float32)
    soundfile.write(tmp_path / "song.wav", sound, RATE, subtype="FLOAT")
    flags = ["--out", runs, "--window", SECONDS, "--json"]
    (answer,) = json.loads(warm_script("predict.py", tmp_path / "song.wav", *flags, root=tmp_path / "x").out)
    power = librosa.feature.melspectrogram(y=sound, sr=RATE, n_fft=2048, hop_length=HOP, n_mels=128)
    frames = 10 * np.log10(np.maximum(power, 1e-10))
    clips = windows(frames, LENGTH)
    by_window = probabilities(runs / "step7_cnn" / "mel_seed0" / "best.pt", clips)
    values = outputs_of(network(runs / "step10_multitask" / "cnn_seed0" / "best.pt"), clips).numpy()
    assert answer["seconds"] == round(frames.shape[1] * HOP / RATE, 1) == 6.0 and answer["windows"] == len(clips) == 7
    assert np.ptp(by_window, axis=0).max() > 0.05
    check_genres(answer, by_window.mean(axis=0))
    assert [answer["emotions"][axis] for axis in AXES] == pytest.approx(values.mean(axis=0), abs=1e-3)

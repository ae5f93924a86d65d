"""predict.py: which networks it takes, how predictions are averaged, its figure and its JSON."""

import json
import os

import numpy as np
import pytest
import torch
from warm import warm_script

import predict
from common.errors import LabError
from common.features import N_MELS
from common.files import save_checkpoint
from common.models import Classifier, CNNBackbone, LSTMBackbone, MultitaskRegressor, Regressor
from extras.songs.networks import (
    build_model,
    frames_in,
    newest_checkpoints,
    open_trained,
    predict_windows,
    read_architecture,
    window_of,
    window_starts,
)
from tests.conftest import random_clip

CLASSES = ["Jazz", "Ρεμπέτικο", "Rock"]
AXES = ["valence", "energy", "danceability"]
SMALL_CNN = ["cnn", "mel", [2, 3, 4, 5], 3]


def write_checkpoint(path, architecture=SMALL_CNN, classes=CLASSES, demo=None, seed=0, **more):
    """A network with random weights, as a step saves it."""
    torch.manual_seed(seed)
    model = build_model(architecture, classes)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "step": "step7_cnn",
        "variant": "mel_seed0",
        "seed": 0,
        "epoch": 3,
        "data": "f",
        "data_path": "/their/data",
        "train_ids": ["12"],
    }
    metadata |= {"architecture": architecture, "classes": classes, "demo": demo, "class_mapping": {}}
    save_checkpoint(path, model.state_dict(), {**metadata, **more})
    (path.parent / "metrics.json").write_text(json.dumps({"mode": "full"}))
    return path


@pytest.fixture
def song(tmp_path):
    """Path of a song of 400 frames, features in the lab's format."""
    path = tmp_path / "777.fused.full.npy"
    np.save(path, random_clip(np.random.default_rng(5), 400))
    return path


@pytest.fixture
def runs(tmp_path):
    """A folder of runs with a network for genres and one for the three axes, both of demo music of 3 s."""
    write_checkpoint(tmp_path / "runs/step7_cnn/mel_seed0/best.pt", demo={"seconds": 3.0})
    axes = {"architecture": ["cnn", "mel", "multitask"], "classes": AXES, "step": "step10_multitask"}
    write_checkpoint(tmp_path / "runs/step10_multitask/cnn_seed0/best.pt", demo={"seconds": 3.0}, **axes)
    return tmp_path / "runs"


def test_the_prediction_is_the_mean_over_windows_of_the_training_length(song, runs, capsys):
    (answer,) = predict.main([str(song), "--out", str(runs)])
    frames = np.load(song).T.astype(np.float32)
    length = frames_in(3.0)
    starts = window_starts(400, length)
    assert length == 130 and starts[0] == 0 and starts[-1] == 400 - 130 and len(starts) == 5 == answer["windows"]
    network = open_trained(runs / "step7_cnn/mel_seed0/best.pt")
    with torch.inference_mode():
        probabilities = []
        for start in starts:
            window = frames[start : start + length, :N_MELS]
            x = torch.from_numpy(np.maximum(window - window.max(), -80))[None]
            probabilities.append(network.model(x, torch.tensor([length])).softmax(dim=1)[0].numpy())
    assert [answer["genres"][name] for name in CLASSES] == pytest.approx(np.mean(probabilities, axis=0), abs=1e-4)
    assert answer["genre"] == max(answer["genres"], key=answer["genres"].get) == next(iter(answer["genres"]))
    assert list(answer["emotions"]) == AXES and answer["seconds"] == 9.3
    printed = capsys.readouterr().out
    assert "Ρεμπέτικο" in printed and "danceability" in printed and "DEMO MUSIC" in printed and str(runs) in printed


def test_windows_cover_a_song_evenly_and_are_clips_of_their_own():
    assert window_starts(100, 100) == window_starts(101, 100) == [0]
    assert window_starts(200, 100) == [0, 50, 100] and window_starts(1000, 100)[-1] == 900
    frames = random_clip(np.random.default_rng(0), 60).T.astype(np.float32)
    kept = frames.copy()
    window = window_of(frames, 20, 30)
    assert window[:, :N_MELS].max() == 0 and window.min() >= -80 and (frames == kept).all()
    assert (window[:, N_MELS:] == frames[20:50, N_MELS:]).all()
    louder = frames.copy()
    louder[:, :N_MELS] += 5  # dB re full scale instead of re the maximum
    assert window_of(louder, 20, 30) == pytest.approx(window, abs=1e-4)


def test_several_checkpoints_are_averaged_if_their_genres_agree(song, tmp_path):
    paths = [write_checkpoint(tmp_path / f"{seed}.pt", seed=seed) for seed in (1, 2)]
    alone = [predict.main([str(song), "--checkpoint", str(path)])[0]["genres"] for path in paths]
    (both,) = predict.main(["--checkpoint", *map(str, paths), "--", str(song)])
    assert both["genres"] == pytest.approx({name: (alone[0][name] + alone[1][name]) / 2 for name in CLASSES}, abs=1e-4)
    assert (
        both["notes"] == ["the song is shorter than a window, 30.0 s"]
        and both["windows"] == 1
        and "emotions" not in both
    )
    other = write_checkpoint(tmp_path / "other.pt", classes=["Jazz", "Rock"])
    with pytest.raises(LabError, match=r"other\.pt: the genres of"):
        predict.main([str(song), "--checkpoint", str(paths[0]), str(other)])


def test_stdout_is_json_alone_and_a_broken_song_does_not_stop_the_others(song, runs, tmp_path):
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"nothing")
    done = warm_script("predict.py", broken, song, "--json", "--out", runs, root=runs, expect=1)
    first, second = json.loads(done.out)
    assert "broken.npy" in first["error"] and second["genre"] in CLASSES
    assert done.err.splitlines()[-1].startswith("error: ") and "Traceback" not in done.err
    assert second["notes"] == [predict.DEMO_NOTE]


def test_a_training_clip_gets_a_note(song, tmp_path):
    train_clip = song.rename(tmp_path / "12.fused.full.npy")
    (answer,) = predict.main([str(train_clip), "--checkpoint", str(write_checkpoint(tmp_path / "a.pt"))])
    assert predict.TRAIN_NOTE in answer["notes"]


def test_the_figure(song, runs, tmp_path):
    target = tmp_path / "song.png"
    (answer,) = predict.main([str(song), "--out", str(runs), "--figure", str(target)])
    assert target.read_bytes().startswith(b"\x89PNG") and target.stat().st_size > 30_000
    decided = answer["decided"]
    assert (answer["genre"] in decided and "Hz" in decided) or "no single region" in decided
    lstm = write_checkpoint(tmp_path / "lstm.pt", ["lstm", "chroma", 4, 1, True])
    with pytest.raises(LabError, match="--figure: a network for genres on mel"):
        predict.main([str(song), "--checkpoint", str(lstm), "--figure", str(target)])


def test_the_newest_full_run_is_taken(tmp_path):
    with pytest.raises(LabError, match="nothing has been trained yet"):
        newest_checkpoints(tmp_path)
    paths = [write_checkpoint(tmp_path / f"step7_cnn/{name}/best.pt") for name in ("a", "b", "b.old-1", "c")]
    for age, path in enumerate(paths):
        os.utime(path.parent / "metrics.json", (1000 + age, 1000 + age))
    (paths[3].parent / "metrics.json").write_text('{"mode": "quick"}')
    ensemble = [
        write_checkpoint(tmp_path / f"step10_multitask/x/best-{k}.pt", ["cnn", "mel", "multitask"], AXES)
        for k in (0, 1)
    ]
    (tmp_path / "step10_multitask/x/state.pt").write_bytes(b"of a training run")
    assert newest_checkpoints(tmp_path) == [paths[1], *ensemble]
    tuned = [
        write_checkpoint(tmp_path / f"compete/genres_cnn_seed0/best-{k}.pt", ["tuned-cnn", "mel", 3]) for k in (0, 1)
    ]
    axes = ["tuned-cnn", "mel", 3, "multitask"]
    (newer, _) = (
        write_checkpoint(tmp_path / f"compete/emotions_seed0/{name}.pt", axes, AXES)
        for name in ("best-0", "best-submit0")
    )
    assert newest_checkpoints(tmp_path) == [*tuned, newer]


@pytest.mark.parametrize(
    ("architecture", "classes", "expected"),
    [
        (["cnn", "mel", [16, 32, 64, 128], 3], CLASSES, Classifier(CNNBackbone(128), 3)),
        (["cnn", "mel", "multitask"], AXES, MultitaskRegressor(CNNBackbone(128), 3)),
        (["cnn", "mel", False, "regressor"], ["energy"], Regressor(CNNBackbone(128))),
        (["cnn", "mel", [16, 32, 64, 128], 3, "regressor"], ["energy"], Regressor(CNNBackbone(128))),
        (["lstm", "fused", 128, 2, False], CLASSES, Classifier(LSTMBackbone(140, 128, 2), 3)),
        (["lstm", "chroma", 128, 2, True], CLASSES, Classifier(LSTMBackbone(12, 128, 2, True), 3)),
    ],
)
def test_the_architecture_of_every_step_gives_its_network(architecture, classes, expected):
    found = read_architecture(architecture)
    assert (found.head == "genre") == (classes == CLASSES) and not found.beat
    assert {name: value.shape for name, value in build_model(architecture, classes).state_dict().items()} == {
        name: value.shape for name, value in expected.state_dict().items()
    }


@pytest.mark.parametrize("architecture", [["lstm", "beat", 8, 2, False], ["lstm", "mel", True, 8, 2, "regressor"]])
def test_a_network_on_beats_is_refused(architecture, tmp_path):
    path = write_checkpoint(tmp_path / "x.pt", architecture, ["energy"] if "regressor" in architecture else CLASSES)
    with pytest.raises(LabError, match=r"x\.pt: .*beat-synced"):
        open_trained(path)


def test_a_song_shorter_than_the_poolings_is_predicted(tmp_path):
    network = open_trained(write_checkpoint(tmp_path / "a.pt"))
    assert predict_windows(
        network, random_clip(np.random.default_rng(0), 1).T.astype(np.float32), [0], 1
    ).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["a.npy", "b.npy", "--figure", "x.png"], "a single SONG"),
        ([], "SONG"),
        (["a.npy", "--window", "0.1"], "at least 0.35 s"),
    ],
)
def test_flags_that_do_not_fit(flags, message, capsys):
    with pytest.raises(SystemExit) as ended:
        predict.main(flags)
    assert ended.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.xdist_group("librosa")
def test_audio_is_read_as_a_whole(runs, tmp_path):
    soundfile = pytest.importorskip("soundfile", reason="needs requirements-audio.txt")
    pytest.importorskip("librosa", reason="needs requirements-audio.txt")
    path = tmp_path / "τραγούδι.wav"
    soundfile.write(
        path, np.sin(2 * np.pi * 440 * np.arange(8 * 22050) / 22050) * np.linspace(0.01, 1, 8 * 22050), 22050
    )
    (answer,) = predict.main([str(path), "--out", str(runs)])
    assert answer["seconds"] == 8.0 and answer["windows"] == 4

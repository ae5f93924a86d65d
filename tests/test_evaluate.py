"""evaluate.py: a checkpoint of every step scores as its run did; checkpoints that no step writes are refused in one
sentence.
"""

import json
import shutil

import numpy as np
import pytest
from emotion_runs import AXIS, OTHER_SEED, SEED, emotion_run
from runs import predictions, read_json
from small_data import AXES
from warm import warm_script

from common.checkpoints import read_checkpoint
from common.files import save_checkpoint

RUNS = {  # (run of emotion_runs, step, variant): what names it on the RESULT line
    ("step5", "step5_lstm", f"chroma_cross-entropy_seed{SEED}"): {"features": "chroma"},
    ("step5beat", "step5_lstm", f"beat_squared-error_seed{OTHER_SEED}"): {"features": "beat"},
    ("step7", "step7_cnn", f"mel_seed{SEED}"): {},
    ("lstm", "step8_regression", f"lstm_{AXIS}_seed{OTHER_SEED}"): {"model": "lstm", "axis": AXIS},
    ("cnn", "step8_regression", f"cnn_{AXIS}_seed{SEED}"): {"model": "cnn", "axis": AXIS},
    ("transfer", "step9_transfer", f"genres_seed{SEED}"): {"start": "genres"},
    ("transfer", "step9_transfer", f"{AXIS}_transfer_seed{SEED}"): {"start": "transfer", "axis": AXIS},
    ("transfer", "step9_transfer", f"{AXIS}_scratch_seed{SEED}"): {"start": "scratch", "axis": AXIS},
}
NO_CACHE = "--no-cache"


@pytest.mark.parametrize(
    ("run", "step", "variant"),
    [pytest.param(*run, marks=[pytest.mark.soak] * (run[0] == "step5beat" or "scratch" in run[2])) for run in RUNS],
)
def test_a_checkpoint_scores_as_the_run_that_made_it(run, step, variant, shared_folder, small, tmp_path):
    folder = emotion_run(shared_folder, small, run).folder(step, variant)
    done = warm_script("evaluate.py", folder / "best.pt", NO_CACHE, "--out", tmp_path, root=tmp_path)
    metrics, (row,) = read_json(folder / "metrics.json"), done.results
    scores = {key: value for key, value in metrics["result"].items() if key != "seen"}
    wanted = {**RUNS[run, step, variant], **{key: f"{value:.4f}" for key, value in scores.items()}}
    assert row == {"step": step, **wanted, "mode": "score"}
    scored = done.folder("evaluate", f"{step}_{variant}_best")
    rows, expected = predictions(scored), predictions(folder)
    assert len(rows) == len(expected) and not predictions(scored, "val")
    for one, other in zip(rows, expected, strict=True):
        words = {key for key in other if key.startswith("p(") or (key == "predicted" and "axis" in other)}
        assert {key: one[key] for key in one if key not in words} == {
            key: other[key] for key in other if key not in words
        }
        assert [float(one[key]) for key in words] == pytest.approx([float(other[key]) for key in words], abs=1e-5)
    assert "trained on the same data" in done.out and "WARNING" not in done.out
    assert read_json(scored / "metrics.json")["mode"] == "score"


def test_a_network_for_three_axes_scores_and_submits_as_it_was_saved(shared_folder, small, tmp_path):
    """An ensemble's members each: the mean of what they submit is what the ensemble did."""
    run = emotion_run(shared_folder, small, "ensemble")
    (folder,) = run.folder("step10_multitask").glob("cnn_*/")
    submitted = []
    for number in (0, 1):
        target = tmp_path / f"{number}.txt"
        flags = [folder / f"best-{number}.pt", NO_CACHE, "--out", tmp_path, "--submit", target]
        done = warm_script("evaluate.py", *flags, root=tmp_path)
        assert [row["axis"] for row in done.results] == [*AXES, "mean"] and {row["mode"] for row in done.results} == {
            "score"
        }
        submitted.append(np.loadtxt(target, delimiter=",", skiprows=1, usecols=(1, 2, 3)))
    theirs = (run.root.parent / "solution.txt").read_text(encoding="utf-8").splitlines()
    assert (tmp_path / "0.txt").read_text(encoding="utf-8").splitlines()[0] == theirs[0]
    ensemble = [list(map(float, line.split(",")[1:])) for line in theirs[1:]]
    np.testing.assert_allclose(np.mean(submitted, axis=0), ensemble, atol=2e-6)


@pytest.fixture(scope="module")
def cnn(shared_folder, small):
    return emotion_run(shared_folder, small, "step7").folder("step7_cnn", f"mel_seed{SEED}") / "best.pt"


def test_other_data_another_table_and_missing_data_are_said(cnn, small, tmp_path):
    data = shutil.copytree(small.path, tmp_path / "data")
    weights, metadata = read_checkpoint(cnn)
    done = warm_script("evaluate.py", cnn, "--data", data, NO_CACHE, "--out", tmp_path, root=tmp_path)
    assert "trained on the same data" in done.out  # the same, elsewhere
    labels = next(data.glob("fma_genre_spectrograms/test_labels.txt"))
    labels.write_bytes(b"\r\n".join(labels.read_bytes().strip().splitlines()[:-1]))
    done = warm_script("evaluate.py", cnn, "--data", data, NO_CACHE, "--out", tmp_path, root=tmp_path)
    assert "trained on other data" in done.out
    table = json.loads((data / "class_mapping.json").read_text(encoding="utf-8"))
    dropped = {genre: None if name == metadata["classes"][0] else name for genre, name in table.items()}
    (data / "class_mapping.json").write_text(json.dumps(dropped), encoding="utf-8")
    done = warm_script("evaluate.py", cnn, "--data", data, NO_CACHE, "--out", tmp_path, root=tmp_path, expect=1)
    assert done.err.startswith(f"error: {cnn}: a network for ") and done.err.count("\n") == 1
    gone = tmp_path / "gone.pt"
    save_checkpoint(gone, weights, {**metadata, "data_path": str(tmp_path / "nowhere")})
    done = warm_script("evaluate.py", gone, NO_CACHE, "--out", tmp_path, root=tmp_path, expect=1)
    assert "--data DIR was expected" in done.err and str(tmp_path / "nowhere") in done.err
    flags = [cnn, "--submit", tmp_path / "s.txt", NO_CACHE, "--out", tmp_path]
    done = warm_script("evaluate.py", *flags, root=tmp_path, expect=1)
    assert done.err.startswith("error: --submit: a network for valence, energy, danceability was expected")

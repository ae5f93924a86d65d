"""Every training step from the command line to its files, on the tiny data folder."""

import subprocess
import sys
from pathlib import Path

import pytest
from warm import warm_script

import step5_lstm
import step7_cnn
from common.cli import run_script
from common.errors import LabError
from common.locations import find_data
from common.run import open_run

REPOSITORY = Path(__file__).resolve().parent.parent
CNN = ("step7_cnn", "mel_seed0")
LSTM = ("step5_lstm", "beat_cross-entropy_seed0")


def run(script, *arguments, cwd=REPOSITORY):
    return subprocess.run(
        [sys.executable, str(REPOSITORY / script), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture
def flags(tiny_data, tmp_path):
    places = ["--data", str(tiny_data), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "runs")]
    return [*places, "--no-baselines", "--batch-size", "8"]


def test_a_step_from_the_command_line(flags, tmp_path):
    variant = CNN
    done = run("step7_cnn.py", *flags, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    step = variant[0]
    assert lines[-1].startswith(f"RESULT {step} ") and lines[1].startswith("data")
    assert [
        line for line in lines if line.startswith("epoch : 0 ,training loss = ")
    ] and "epoch : 1 ,training loss = " in done.stdout
    assert (
        "Accuracy in validation set = " in done.stdout and "Ελληνικά" in done.stdout and "majority" not in done.stderr
    )
    folder = tmp_path.joinpath("runs", *variant)
    written = {path.name for path in folder.iterdir()}
    assert written == {
        "arguments.json", "best.pt", "confusion.png", "curves.png", "history.json", "log.txt", "metrics.json", "predictions.csv",
        "state.pt", "state.before.pt",
    }  # fmt: skip
    log = (folder / "log.txt").read_text(encoding="utf-8")
    logged = log.splitlines()
    matrix = logged.index("confusion matrix: rows true, columns predicted, in the same order")
    del logged[matrix - 1 : matrix + 3]  # by name in the log alone: a blank line, this one, and two classes
    assert logged == lines[: len(logged)]


def test_same_seed_same_figures_cached_or_not_and_another_seed_others(flags, tmp_path, capsys):
    figures = {}
    for name, more in {"first": [], "again": [], "no cache": ["--no-cache"], "seed": ["--seed", "1"]}.items():
        step7_cnn.main([*flags, "--epochs", "2", *more])
        logged = capsys.readouterr().out
        figures[name] = [line for line in logged.splitlines() if line.startswith(("epoch", "Accuracy", "RESULT"))]
    assert figures["first"] == figures["again"] == figures["no cache"] != figures["seed"]
    folders = sorted(path.name for path in (tmp_path / "runs" / "step7_cnn").iterdir() if path.is_dir())
    assert folders == ["mel_seed0", "mel_seed0.old-1", "mel_seed0.old-2", "mel_seed1"]


def test_all_four_lstms_and_the_comparison_with_the_cnn(flags, capsys):
    (cnn,) = step7_cnn.main([*flags, "--epochs", "1"])
    assert "holds no run of step5_lstm.py" in capsys.readouterr().out
    rows = step5_lstm.main([*flags, "--epochs", "1"])
    text = capsys.readouterr().out
    assert [row["features"] for row in rows] == ["mel", "beat", "chroma", "fused"]
    assert [line.split()[2] for line in text.splitlines()[-4:]] == [f"features={row['features']}" for row in rows]
    assert text.count("comparison :") == 4
    (again,) = step7_cnn.main([*flags, "--epochs", "1"])
    said = [
        line
        for line in capsys.readouterr().out.splitlines()
        if "does the CNN beat the LSTM that validates best" in line
    ]
    lstm = next(row["test_acc"] for row in rows if f", on {row['features']} by" in said[0])
    assert again == cnn and f"accuracy {cnn['test_acc'] - lstm:+.3f} (95 % interval" in said[0]
    step7_cnn.main([*flags, "--quick"])  # a dry run is not compared with full runs
    assert "does the CNN beat" not in capsys.readouterr().out


def test_beat_synchronises_chroma_and_fused_too(flags):
    rows = step5_lstm.main([*flags, "--epochs", "1", "--features", "chroma", "beat", "--beat"])
    assert [row["features"] for row in rows] == ["chroma-beat", "beat"]


def test_quick_and_overfit_batch_have_their_own_folders(flags, tmp_path, capsys):
    step7_cnn.main([*flags, "--quick"])
    assert capsys.readouterr().out.splitlines()[-1].endswith(" mode=quick")
    (found,) = step7_cnn.main([*flags, "--overfit-batch"])
    text = capsys.readouterr().out
    assert found["overfit"] == "learns" and "sanity check: learns" in text
    names = {path.name for path in (tmp_path / "runs" / "step7_cnn").iterdir() if path.is_dir()}
    assert names == {"mel_seed0_quick", "mel_seed0_overfit"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "-1"], "--epochs"),
        (["--epochs", "two"], "--epochs"),
        (["--lr", "nan"], "--lr"),
        (["--lr", "0"], "--lr"),
        (["--batch-size", "0"], "--batch-size"),
        (["--seed", "-3"], "--seed"),
        (["--epochs", "0"], "--epochs"),
        (["--checkpoint", "x.pt", "--epochs", "3"], "python evaluate.py"),
        (["--checkpoint"], "python evaluate.py"),
        (["--recipe", "tuned"], "python compete.py"),
        (["--change", "networks=1", "frames=215"], "compete.py"),
        (["--quick", "--overfit-batch"], "--overfit-batch"),
        (["--nonsense"], "--nonsense"),
        (["--ep", "3"], "--ep"),
    ],
)
def test_impossible_arguments_are_refused_in_one_sentence(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        step7_cnn.main(arguments)
    text = capsys.readouterr().err
    assert caught.value.code == 2 and text.count("\n") == 1 and said in text


def test_a_users_error_is_one_line_without_traceback(tmp_path):
    done = warm_script("step7_cnn.py", "--data", tmp_path / "absent", root=tmp_path / "runs", expect=1)
    assert done.out == ""
    assert done.err.startswith("error: --data") and done.err.count("\n") == 1


def test_a_run_that_fails_at_once_leaves_the_earlier_one_in_place(flags, tiny_data, tmp_path):
    step7_cnn.main([*flags, "--epochs", "1"])
    folder = tmp_path.joinpath("runs", *CNN)
    before = (folder / "metrics.json").read_bytes()
    (tiny_data / "fma_genre_spectrograms" / "test_labels.txt").rename(tiny_data / "hidden")
    with pytest.raises(LabError, match="test_labels"):
        step7_cnn.main([*flags, "--epochs", "1"])
    assert (folder / "metrics.json").read_bytes() == before and not list(folder.parent.glob("*.old*"))


def test_a_missing_folder_is_said_before_any_training(flags, tiny_data, capsys):
    (tiny_data / "fma_genre_spectrograms_beat" / "train_labels.txt").unlink()
    with pytest.raises(LabError, match="fma_genre_spectrograms_beat"):
        step5_lstm.main([*flags, "--epochs", "1"])
    assert capsys.readouterr().out == ""


def test_a_test_side_that_repeats_the_training_side_is_called_out(flags, tiny_data, capsys):
    genres = tiny_data / "fma_genre_spectrograms"
    for path in (genres / "train").iterdir():
        (genres / "test" / path.name).write_bytes(path.read_bytes())
    (genres / "test_labels.txt").write_bytes((genres / "train_labels.txt").read_bytes())
    step7_cnn.main([*flags, "--quick"])
    assert "WARNING: 24 of the 24 test clips are training clips too (by id)" in capsys.readouterr().out


def test_only_the_labs_own_test_side_is_beside_the_write_up(flags, tiny_data, capsys):
    (tiny_data / "class_mapping.json").unlink()
    for path in tiny_data.glob("fma*/*labels.txt"):
        path.write_bytes(path.read_text(encoding="utf-8").replace("Ρεμπέτικο", "Jazz").encode())
    step7_cnn.main([*flags, "--quick"])
    step7_cnn.main([*flags, "--epochs", "1"])
    assert capsys.readouterr().out.count("accuracy 0.4435 on the lab's 575 test clips, not comparable") == 2


def test_an_out_folder_that_is_a_file_is_named(flags, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="file/step7_cnn"):
        step7_cnn.main([*flags[:4], "--out", str(tmp_path / "file")])


def test_two_runs_into_one_folder_are_refused(tiny_data, tmp_path):
    given = tmp_path / "runs" / "step" / "variant", {"mode": "full", **find_data(tiny_data).metadata()}, {}
    with open_run(*given), pytest.raises(LabError, match="another process is writing"):
        open_run(*given).__enter__()


@pytest.mark.parametrize(
    ("error", "code"), [(LabError("file: wrong"), "error: file: wrong"), (KeyboardInterrupt(), 130)]
)
def test_how_a_script_ends(error, code):
    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        run_script(main)
    assert caught.value.code == code

"""build_report.py's page, from run folders written here in the form that the steps write."""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

import build_report
from common.comparison import save_predictions
from common.errors import LabError
from common.files import write_atomically
from common.labels import AXES
from common.locations import find_data
from common.metrics import classification_metrics
from common.run import open_run
from extras.demo.folder import MARKER
from extras.writeup import numbers as writeup

LOG = "clips      : 20 to train on, 10 to validate with (they pick the epoch), 8 to test\n"
ODD = (
    "<script>alert(1)</script>",
    "Ρεμπέτικο|`*_",
)  # class names with characters that have a meaning in HTML and Markdown


def write_labels(root, table=None, counts=None, emotions=4):
    """A data folder of label files alone: `counts` test clips of each class, the same to train on."""
    genres, multitask = root / "fma_genre_spectrograms", root / "multitask_dataset"
    for folder in (genres, multitask):
        folder.mkdir(parents=True)
    if table:
        (root / "class_mapping.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    names = [genre for genre, count in counts.items() for _ in range(count)]
    for split, start in (("train", 1000), ("test", 5000)):
        rows = [f"{start + k}.fused.full.npy.gz\t{genre}" for k, genre in enumerate(names)]
        (genres / f"{split}_labels.txt").write_text("\n".join(["Id\tGenre", *rows, ""]), encoding="utf-8")
    rows = [f"{9000 + k},0.1,0.2,0.3" for k in range(emotions)]
    (multitask / "train_labels.txt").write_text("\n".join(["Id,valence,energy,danceability", *rows, ""]))
    return find_data(root)


def picture(width=40, height=10):
    """A PNG file, small and grey."""

    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def write_run(
    root, data, step, variant, result, seed=0, mode="full", metrics=None, epochs=0, pictures=(), rows=(), **metadata
):
    rng = np.random.default_rng([seed, len(variant)])
    metadata = {"mode": mode, "seed": seed, "data": data.fingerprint, **data.metadata(), **metadata}
    with open_run(Path(root) / step / f"{variant}_seed{seed}", metadata, {"seed": seed, "device": "cpu"}) as run:
        print(f"{step} <{variant}>\n{LOG}step 1a: two clips\nstep 2a: steps\nstep 3: notes\nstep 4a: the dataset")
        for name in pictures:
            write_atomically(run.folder / f"{name}.png", picture())
        if rows:
            save_predictions(run, rows, "")
        history = [
            dict(zip(("train_loss", "val_loss", "val_acc"), rng.uniform(size=3), strict=True), epoch=k)
            for k in range(epochs)
        ]
        run.finish(result, metrics, history)
    return run.folder


def write_classifier(root, data, step, variant, classes, seed=0, **metadata):
    rng = np.random.default_rng([seed, len(variant), len(step)])
    true = np.arange(8) % len(classes)
    predicted = np.where(rng.uniform(size=8) < 0.6, true, 0)
    metrics = classification_metrics(true, predicted, list(classes))
    rows = [
        {"id": k, "split": "test", "true": classes[t], "predicted": classes[p]}
        for k, (t, p) in enumerate(zip(true, predicted, strict=True))
    ]
    result = {"test_acc": metrics["accuracy"], "test_f1_macro": metrics["macro"]["f1"]}
    write_run(root, data, step, variant, result, seed, "full", metrics, 2, ("curves", "confusion"), rows, **metadata)


def write_regressor(root, data, step, variant, axes, result, seed=0, metrics=None, **metadata):
    rng = np.random.default_rng([seed, len(variant)])
    rows = [
        {"id": k, "split": "test", "axis": axis, "true": k / 8, "predicted": rng.uniform()}
        for k in range(8)
        for axis in axes
    ]
    pictures = [f"scatter_{axis}" for axis in axes]
    write_run(root, data, step, variant, result, seed, "full", metrics, 2, pictures, rows, **metadata)


def write_all(root, data, classes, seeds=(0, 1)):
    """Runs of every step but step 0."""
    counts = dict.fromkeys(data.class_mapping, 4)
    imbalance = {"clips_per_genre": counts, "imbalance": [1.5, 3.0]}
    result = {"ids": "1000,1001", "frames": "40,44", "beats": "4,8"}
    write_run(
        root, data, "step1_visualize", "clips", result, metrics=imbalance, pictures=["step1_mel", "step2_mel_beat"]
    )
    digits = {"conv1": ["conv (24x24x8)", "parameters: 8x5x5x1+8 = 208"], "relu1": ["relu (24x24x8)"]}
    layers = [
        {
            "layer": "stage 1 conv",
            "role": "finds patterns",
            "output": "40x128x16",
            "parameters": "16x3x3x1+16 = 160",
            "count": 160,
        }
    ]
    metrics = {"digits": digits, "genre": {"layers": layers}}
    write_run(
        root,
        data,
        "step7a_look_inside",
        "digits",
        {"digits_acc": 0.98765, "true": classes[0]},
        metrics=metrics,
        pictures=["layers"],
    )
    for seed in seeds:
        for features in ("mel", "beat"):
            metadata = {"features": features, "loss": "cross-entropy"}
            write_classifier(root, data, "step5_lstm", f"{features}_cross-entropy", classes, seed, **metadata)
        write_classifier(root, data, "step7_cnn", "mel", classes, seed)
        write_classifier(root, data, "step9_transfer", "genres", classes, seed, start="genres")
        for number, axis in enumerate(AXES):
            for model in ("lstm", "cnn"):
                rho = None if (model, axis) == ("lstm", "valence") else 0.1 * number + 0.01234 * seed
                metrics = {"spearman": rho, "mse": 0.06 + 0.01 * seed, "mse_constant": 0.05}
                metadata = {"model": model, "axis": axis}
                write_regressor(
                    root,
                    data,
                    "step8_regression",
                    f"{model}_{axis}",
                    [axis],
                    {"spearman": rho},
                    seed,
                    metrics,
                    **metadata,
                )
        for start in ("transfer", "scratch"):
            metadata = {"axis": "valence", "start": start, "freeze": False}
            write_regressor(
                root, data, "step9_transfer", f"valence_{start}", ["valence"], {"spearman": 0.4321}, seed, **metadata
            )
        result = {axis: {"spearman": 0.2 + 0.1 * number + seed / 100} for number, axis in enumerate(AXES)}
        write_regressor(root, data, "step10_multitask", "cnn", AXES, result, seed, weights=[0.33] * 3, ensemble=1)


def build(data, root, *flags):
    """The report as (HTML, Markdown)."""
    paths = build_report.main(["--data", str(data.path), "--out", str(root), *flags])
    return tuple(path.read_text(encoding="utf-8") for path in paths)


def table_rows(markdown):
    """{first cell: [other cells]} of all tables, the last row of a name; all rows of a table have as many cells."""
    text = re.sub(r"(?ms)^(`{3,})$.*?^\1$", "", markdown)
    rows = {}
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
        assert len({len(cells) for cells in lines}) == 1, table
        for first, *rest in lines[2:]:
            rows[first.strip()] = [cell.strip() for cell in rest]
    return rows


@pytest.fixture
def odd(tmp_path):
    """(data with a class table of its own, the root of every step's runs of two seeds)."""
    data = write_labels(
        tmp_path / "data", {**{name: name for name in ODD}, "Chiptune": None}, {ODD[0]: 5, ODD[1]: 3, "Chiptune": 2}
    )
    write_all(tmp_path / "runs", data, sorted(ODD))
    return data, tmp_path / "runs"


def test_every_number_on_the_page_is_that_of_the_runs(odd):
    data, root = odd
    _, markdown = build(data, root)
    rows = table_rows(markdown)

    def of(step, variant, *keys, file="metrics.json"):
        found = []
        for seed in (0, 1):
            value = json.loads((root / step / f"{variant}_seed{seed}" / file).read_text(encoding="utf-8"))
            for key in keys:
                value = value[key]
            found.append(value)
        return f"{np.mean(found):.4f} ± {np.std(found, ddof=1):.4f}"

    for features, theirs in (("mel", "0.23"), ("beat", "0.32")):
        name = f"{features}_cross-entropy"
        accuracy = of("step5_lstm", name, "result", "test_acc")
        expected = [accuracy, "test, 8 clips", theirs, "test, 575 clips", "not comparable"]
        assert (
            rows[f"LSTM on {features} by cross-entropy, accuracy"]
            == rows[f"6: LSTM on {features} by cross-entropy, accuracy"]
            == expected
        )
        assert rows[f"LSTM on {features} by cross-entropy, macro F1"][0] == of(
            "step5_lstm", name, "result", "test_f1_macro"
        )
        last = of("step5_lstm", name, -1, "val_acc", file="history.json")
        theirs = str(writeup.STEP5_LSTM[features]["val_acc"])
        expected = [last, "validation, 10 clips", theirs, "validation, 760 clips", "not comparable"]
        assert rows[f"{features} by cross-entropy"] == expected
        assert rows[f"{features} by cross-entropy, training loss"][0] == of(
            "step5_lstm", name, -1, "train_loss", file="history.json"
        )
    assert rows["CNN on mel, accuracy"][0] == of("step7_cnn", "mel", "result", "test_acc")
    assert rows["CNN to be transferred, accuracy"][:3] == [
        of("step9_transfer", "genres", "result", "test_acc"),
        "test, 8 clips",
        "0.4383",
    ]
    assert rows["LSTM, valence"][0] == "0.0650 ± 0.0071"  # the squared error, the last table with such a row
    assert rows["CNN, mean"] == ["0.1062 ± 0.0087", "test, 8 clips", "0.4080", "not stated", "not comparable"]
    assert rows["LSTM, mean"][0] == "undefined in 2 of 2 seeds"
    assert rows["9: CNN, valence, scratch"] == [
        "0.4321 ± 0.0000",
        "test, 8 clips",
        "0.2792",
        "not stated; its step 8, 50 epochs",
        "not comparable",
    ]
    assert rows["multitask cnn, danceability"][:3] == ["0.4050 ± 0.0071", "test, 8 clips", "0.3660"]
    assert rows["largest / smallest, after it"] == [
        "3.00",
        "training split",
        "3.03",
        "test, 575 clips (step 6)",
        "not comparable",
    ]
    assert rows["frames"][0] == "44" and rows["beats"] == ["8", "clip 1001", "63", "clip 14780", "not comparable"]
    assert rows["conv1"][0] == "conv (24x24x8); parameters: 8x5x5x1+8 = 208" and rows["conv1"][1].endswith(
        "8x5x5x1+8 = 208"
    )
    assert rows["relu1"][1:] == ["-", "-"] and "digits_acc 0.9877" in markdown
    assert rows["stage 1 conv"] == ["finds patterns", "40x128x16", "16x3x3x1+16 = 160"]
    assert rows["step8_regression.py"][:4] == ["6", "0, 1", "2", "15, 50"]


def test_html_needs_no_other_file_and_names_are_escaped(odd):
    html, markdown = build(*odd)
    assert (
        "<script" not in html
        and "http" not in re.sub(r"base64,[\w+/=]+", "", html)
        and "<link" not in html
        and "url(" not in html
    )
    sources = re.findall(r'src="([^"]*)"', html)
    assert len(sources) == 2 + 2 * 2 + 1 + 2 + 2 + 6 + 2 + 3 and all(
        source.startswith("data:image/png;base64,iVBOR") for source in sources
    )
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "Ρεμπέτικο" in html
    assert "\\<script\\>alert(1)\\</script\\>" in markdown and "Ρεμπέτικο\\|\\`\\*\\_" in markdown
    links = re.findall(r"^!\[.*\]\((.*)\)$", markdown, re.MULTILINE)
    assert len(links) == len(sources) and all((odd[1] / link).is_file() for link in links)
    assert html.count("<details>") == markdown.count("<details>") == 4 + 1 + 2 * (2 + 1 + 6 + 3 + 1)
    anchors = re.findall(r'href="#([^"]+)"', html)
    assert len(anchors) == 14 and all(f'id="{anchor}"' in html for anchor in anchors)


def test_the_same_runs_make_the_same_bytes(odd, capsys):
    data, root = odd
    first = build(data, root)
    assert build(data, root) == first
    assert capsys.readouterr().out.splitlines()[-1] == "RESULT build_report steps=7 of=10 runs=28"
    assert "of 1 seed" not in first[0] and " ± " not in "".join(build(data, root, "--seeds", "1"))


def test_steps_that_have_not_run_are_shown_with_their_command(tmp_path):
    data = write_labels(tmp_path / "data", counts={"Rock": 3, "Folk": 2})
    folder = write_run(
        tmp_path / "runs",
        data,
        "step0_data",
        "headers",
        {"genre_clips": 10, "multitask_clips": 4, "missing": 0, "unreadable": 1},
    )
    (folder / "log.txt").unlink()
    html, markdown = build(data, tmp_path / "runs")
    for script, times in (
        ("step1_visualize.py", 4),
        ("step5_lstm.py", 2),
        ("step7_cnn.py", 1),
        ("step10_multitask.py", 1),
    ):
        assert (
            markdown.count(f"not run: `python {script} --data ")
            == html.count(f"not run: <code>python {script} --data ")
            == times
        )
    rows = table_rows(markdown)
    assert (
        rows["clips of the genre set"][:1] == ["10"]
        and rows["genres"][0] == "-"
        and rows["files that cannot be read"][0] == "1"
    )
    assert "(log.txt is missing)" in html and "not comparable" in rows["clips of the multitask set"]


def test_runs_of_other_data_and_dry_runs_are_left_out(odd, tmp_path):
    data, root = odd
    other = write_labels(tmp_path / "other", counts={"Rock": 3, "Folk": 2})
    with pytest.raises(LabError, match=r"runs of other data, seeds or versions\); python step0_data.py --data"):
        build(other, root)
    before = build(data, root)
    write_run(root, other, "step7_cnn", "theirs", {"test_acc": 0.987654, "test_f1_macro": 0.9})
    write_run(root, data, "step7_cnn", "mel_quick", {"test_acc": 0.987654, "test_f1_macro": 0.9}, mode="quick")
    assert build(data, root) == before
    with pytest.raises(LabError, match=r"nowhere: a finished full run on .* was expected; python step0_data.py"):
        build(data, tmp_path / "nowhere")
    (root / "step7_cnn" / "mel_seed0" / "history.json").write_text("[{")
    with pytest.raises(LabError, match=r"history.json: JSON as the step wrote it was expected"):
        build(data, root)


def test_runs_of_an_earlier_version_are_left_out_with_a_line(odd, capsys):
    data, root = odd
    for number, earlier in enumerate((1, None), start=1):
        path = root / "step7_cnn" / f"mel_seed{2 - number}" / "metrics.json"
        metrics = json.loads(path.read_text(encoding="utf-8"))
        assert metrics.pop("format") == 3
        path.write_text(json.dumps({**metrics, **({"format": earlier} if earlier else {})}), encoding="utf-8")
        _, markdown = build(data, root)
        output = capsys.readouterr()
        assert f"{path}: by an earlier version of this project, left out" in output.err
        assert len(output.err.splitlines()) == number
        assert f" runs={28 - number}" in output.out.splitlines()[-1]
        row = table_rows(markdown)["step7_cnn.py"]
        assert row[:2] == (["1", "0"] if number == 1 else ["not run", "-"])
    for path in root.glob("step*/*/metrics.json"):
        path.write_text(json.dumps({"format": 1, "seed": 0}), encoding="utf-8")
    with pytest.raises(LabError, match=r"\(it has runs of other data, seeds or versions\); python step0_data.py"):
        build(data, root)


def test_demo_music_is_marked_and_not_comparable(tmp_path):
    write_labels(tmp_path / "data", counts={"Rock": 3, "Folk": 2})
    (tmp_path / "data" / MARKER).write_text(json.dumps({"format": 1, "notice": "demo"}))
    data = find_data(tmp_path / "data")
    write_classifier(tmp_path / "runs", data, "step7_cnn", "mel", ("Folk", "Rock"))
    html, markdown = build(data, tmp_path / "runs")
    assert '<p class="demo">DEMO MUSIC' in html and "**DEMO MUSIC" in markdown
    assert table_rows(markdown)["CNN on mel, accuracy"][-1] == "not comparable"


def test_on_the_labs_own_clips_the_difference_is_shown(tmp_path):
    counts = {**dict(zip(writeup.CLASSES, writeup.SUPPORT, strict=True)), "Indie-Rock": 7}
    data = write_labels(tmp_path / "data", counts=counts, emotions=1122)
    write_classifier(tmp_path / "runs", data, "step7_cnn", "mel", writeup.CLASSES)
    metadata = {"model": "cnn", "axis": "energy"}
    metrics = {"mse": 0.1, "mse_constant": 0.2}
    write_regressor(
        tmp_path / "runs", data, "step8_regression", "cnn_energy", ["energy"], {"spearman": 0.5}, 0, metrics, **metadata
    )
    html, markdown = build(data, tmp_path / "runs")
    row = table_rows(markdown)["CNN on mel, accuracy"]
    assert float(row[-1]) == pytest.approx(float(row[0]) - 0.4435, abs=1e-4)
    assert "| CNN, energy | 0.5000 | test, 8 clips | 0.6176 | not stated | -0.1176 |" in markdown
    assert "not comparable" not in html and "DEMO" not in html


def test_the_write_ups_numbers_agree_with_each_other():
    for matrix, scores in (
        (writeup.STEP7_CONFUSION, writeup.STEP7_CNN),
        (writeup.STEP9_CONFUSION, writeup.STEP9_GENRES),
    ):
        assert tuple(map(sum, matrix)) == writeup.SUPPORT
        assert np.trace(matrix) / 575 == pytest.approx(scores["test_acc"], abs=5e-5)
    for features, rows in writeup.STEP6_CLASSES.items():
        recalls = np.array([row[1] for row in rows])
        assert np.average(recalls, weights=writeup.SUPPORT) == pytest.approx(
            writeup.STEP5_LSTM[features]["test_acc"], abs=0.011
        )
        assert np.mean(rows, axis=0) == pytest.approx(writeup.STEP6_AVERAGES[features]["macro"], abs=0.011)
    for scores in (*writeup.STEP8_SPEARMAN.values(), writeup.STEP10_SPEARMAN):
        assert np.mean([scores[axis] for axis in AXES]) == pytest.approx(scores["mean"], abs=1e-4)

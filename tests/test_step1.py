"""Steps 1 to 4 on the tiny data folder: text, figures, choice of clips, and what a user may get wrong."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import step1_visualize
from common.errors import LabError
from common.labels import CLASS_MAPPING
from common.plots import png
from common.spectrogram_plots import (
    FRAME_SECONDS,
    chroma_figure,
    count_classes,
    histograms_figure,
    mel_band_of,
    mel_beat_figure,
    mel_figure,
)

pytestmark = pytest.mark.usefixtures("drawn")

REPOSITORY = Path(__file__).resolve().parent.parent
GENRES = "fma_genre_spectrograms"
FIGURES = {"step1_mel.png", "step2_mel_beat.png", "step3_chroma.png", "step4_histograms.png"}


@pytest.fixture
def flags(tiny_data, tmp_path):
    return ["--data", str(tiny_data), "--out", str(tmp_path / "runs")]


def frames_of(tiny_data, ident, folder=GENRES):
    return np.load(tiny_data / folder / "train" / f"{ident}.fused.full.npy").shape[1]


def test_two_clips_by_id_with_the_write_ups_text(flags, tiny_data, tmp_path, capsys):
    (result,) = step1_visualize.main([*flags, "--ids", "1000", "2003"])
    full, beat = (
        [frames_of(tiny_data, ident, folder) for ident in (1000, 2003)] for folder in (GENRES, f"{GENRES}_beat")
    )
    assert result == {"ids": "1000,2003", "frames": f"{full[0]},{full[1]}", "beats": f"{beat[0]},{beat[1]}"}
    lines = capsys.readouterr().out.splitlines()
    assert "1000.fused.full.npy.gz with label Rock" in lines and "2003.fused.full.npy.gz with label Ρεμπέτικο" in lines
    shapes = [line for line in lines if line.startswith("(")]
    assert shapes == [str((rows, length)) for rows in (128, 12) for length in (*full, *beat)]
    assert any(line.startswith("label    : ") and "of 2, numbered by name" in line for line in lines)
    assert "largest / smallest: 1.00 before the mapping, 1.00 after it" in lines
    assert any(
        line.endswith("it drops 1; 0 of them have more clips than the rarest genre kept, Rock (12)") for line in lines
    )
    assert lines[-1] == f"RESULT step1_visualize ids=1000,2003 frames={full[0]},{full[1]} beats={beat[0]},{beat[1]}"
    folder = tmp_path / "runs" / "step1_visualize" / "clips_seed0"
    assert {path.name for path in folder.glob("*.png")} == FIGURES
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in FIGURES)


def test_the_seed_draws_two_clips_of_different_classes(tiny_data):
    table = {"Rock": "Rock", "Pop": "Pop", "Noise": None, "Punk": "Rock"}
    rows = [(str(number), genre, number + 2) for number, genre in enumerate([*table] * 5)]
    drawn = [step1_visualize.choose_clips(rows, table, None, seed, "labels") for seed in range(20)]
    assert all({table[genre] for _, genre, _ in pair} == {"Rock", "Pop"} for pair in drawn)
    assert (
        drawn[0] == step1_visualize.choose_clips(rows, table, None, 0, "labels")
        and len({pair[0][0] for pair in drawn}) > 5
    )
    lab_rows = [*rows, ("14780", "Electronic", 90), ("123947", "Blues", 91)]
    assert [row[0] for row in step1_visualize.choose_clips(lab_rows, table, None, 0, "labels")] == ["123947", "14780"]
    with pytest.raises(LabError, match="at least two classes"):
        step1_visualize.choose_clips(rows[:1], table, None, 0, "labels")


def test_errors_are_one_sentence(flags, tiny_data):
    with pytest.raises(LabError, match="--ids 77: a clip of the training split was expected"):
        step1_visualize.main([*flags, "--ids", "1000", "77"])
    (tiny_data / f"{GENRES}_beat" / "train" / "2003.fused.full.npy").unlink()
    with pytest.raises(LabError, match=r"beat.train: a file 2003\.fused\.full\.npy was expected"):
        step1_visualize.main([*flags, "--ids", "1000", "2003"])
    shutil.rmtree(tiny_data / f"{GENRES}_beat")
    with pytest.raises(LabError, match="a folder of spectrograms was expected"):
        step1_visualize.main(flags)


def test_clips_of_one_frame_and_no_multitask_folders(flags, tiny_data):
    for folder in (GENRES, f"{GENRES}_beat"):
        for ident in (1000, 2003):
            path = tiny_data / folder / "train" / f"{ident}.fused.full.npy"
            np.save(path, np.load(path)[:, :1])
    for name in ("multitask_dataset", "multitask_dataset_beat"):
        shutil.rmtree(tiny_data / name)
    assert step1_visualize.main([*flags, "--ids", "1000", "2003.fused.full.npy"])[0]["frames"] == "1,1"


def test_mel_bands_of_frequencies():
    # librosa.mel_frequencies(130, fmin=0, fmax=11025): the points of 128 bands and the two edges
    edge = 15 + 27 * np.log(11.025) / np.log(6.4)
    assert mel_band_of(0) == -1 and mel_band_of(11025) == pytest.approx(128)
    assert mel_band_of(1000) == pytest.approx(15 / edge * 129 - 1) and mel_band_of(6400) == pytest.approx(
        42 / edge * 129 - 1
    )


def test_axes_of_the_figures():
    rng = np.random.default_rng(0)
    clips = [
        (name, rng.uniform(0, 1, (60, 140)), rng.uniform(0, 1, (7, 140))) for name in ("1 (Rock)", "2 (Ρεμπέτικο)")
    ]
    for figure, left, notes in (
        (mel_beat_figure(clips), "frequency (Hz, mel scale)", False),
        (chroma_figure(clips), "note", True),
    ):
        panels = figure.axes[:4]
        assert [ax.get_xlabel() for ax in panels] == ["time (s)", "beat"] * 2 and {
            ax.get_ylabel() for ax in panels
        } == {left}
        assert panels[0].images[0].get_extent()[:2] == pytest.approx((-0.5 * FRAME_SECONDS, 59.5 * FRAME_SECONDS))
        assert panels[1].images[0].get_extent()[:2] == pytest.approx((-0.5, 6.5))
        assert panels[0].images[0].get_clim() == panels[3].images[0].get_clim() == ((0, 1) if notes else (-80, 0))
        assert (
            len(panels[0].get_yticks()) == (12 if notes else 7) and len(figure.axes) == 5
        )  # the fifth is the colour bar
    assert len(mel_figure(clips).axes) == 3


def test_bars_are_the_counts():
    counts = Counter(dict.fromkeys(CLASS_MAPPING, 160)) | Counter({"Chiptune": 161})
    counts.update({"Metal": -7, "Trip-Hop": -23, "Soundtrack": -36, "Post-Rock": -65, "Chiptune": -1})
    classes = count_classes(counts, CLASS_MAPPING)
    assert (
        sum(counts.values()) == 3069 and sum(classes.values()) == 2305 and classes["Rock"] == 415 and len(classes) == 10
    )
    figure = histograms_figure(counts, CLASS_MAPPING)
    before, after = figure.axes
    assert [bar.get_width() for bar in before.patches] == [counts[genre] for genre in sorted(counts)]
    assert [bar.get_width() for bar in after.patches] == list(classes.values())
    grey = [
        genre
        for genre, bar in zip(sorted(counts), before.patches, strict=True)
        if len(set(bar.get_facecolor()[:3])) == 1
    ]
    assert grey == sorted(genre for genre, name in CLASS_MAPPING.items() if name is None)
    assert png(figure).startswith(b"\x89PNG")

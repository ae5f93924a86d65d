"""Steps 1 to 4: how do two clips of different genres look, and what does the lab's dataset pass to a network?

    python step1_visualize.py
    python step1_visualize.py --data DIR --ids 123947 14780

Needs no earlier step. Takes seconds. Writes runs/step1_visualize/clips_seed<n>/: log, step1_mel.png,
step2_mel_beat.png, step3_chroma.png and step4_histograms.png.
"""

from collections import Counter

import numpy as np

from common.cli import run_script, start_run, step_parser
from common.dataset import SpectrogramDataset
from common.errors import LabError
from common.features import N_MELS, NOTES
from common.labels import LabelTransformer, clip_id, label_rows, read_genre_labels
from common.locations import find_data
from common.progress import explain
from common.reading import find_spectrograms, read_fused_spectrogram
from common.report import print_results
from common.spectrogram_plots import (
    chroma_figure,
    count_classes,
    histograms_figure,
    mel_band_of,
    mel_beat_figure,
    mel_figure,
)
from extras.demo.folder import demo_folder

STEP = "step1_visualize"

CLIPS = {"123947": "Blues", "14780": "Electronic"}  # the write-up's, used if the data have them
SHOWN_CLIPS = 8  # enough to show the dataset in step 4; without this it would read all clips
SPLIT_HERTZ = 2000  # between "low" and "high" in the line of step 1c; chosen here, about the middle of the mel axis


def main(argv=None):
    parser = step_parser(__doc__)
    ids = "two clips of the training split (default: the write-up's, otherwise random ones)"
    parser.add_argument("--ids", nargs=2, metavar="ID", help=ids)
    kept = "where checksums of the files are kept (default: cache/)"
    explain(parser, seed="picks the two random clips (default: %(default)s)", cache=kept, no_cache="keep no checksums")
    args = parser.parse_args(argv)
    data = find_data(args.data, demo=demo_folder)
    title = "Steps 1 to 4: two clips, and the dataset"
    with start_run(args, STEP, title, data, args.seed, "clips", folders=[data.genres(), data.genres(beat=True)]) as run:
        result = show_clips(args, data, run)
    return print_results(STEP, data, args.mode, [args.seed], [[result]])


def show_clips(args, data, run):
    # Step 1: two lines of the label file, and their mel spectrograms
    label_file = data.genres() / "train_labels.txt"
    rows = read_genre_labels(label_file, data.class_mapping)
    chosen = choose_clips(rows, data.class_mapping, args.ids, args.seed, label_file)
    full, beat = (read_two_clips(folder / "train", chosen) for folder in (data.genres(), data.genres(beat=True)))
    names = [f"{ident} ({genre})" for ident, genre, _ in chosen]
    clips = list(zip(names, full, beat, strict=True))
    print("\nstep 1a: two clips of the training split")
    names_in_file = {number: name for number, name, _ in label_rows(label_file, ("genre",))}
    for _, genre, number in chosen:
        print(f"{names_in_file[number]} with label {genre}")
    run.save_figure("step1_mel", mel_figure(clips))
    print(f"step 1c, step1_mel.png: mean level below and above {SPLIT_HERTZ} Hz, in dB re clip maximum")
    low_bands = int(mel_band_of(SPLIT_HERTZ)) + 1
    for label, frames, _ in clips:
        print(f"{label}: {frames[:, :low_bands].mean():.1f} and {frames[:, low_bands:N_MELS].mean():.1f}")

    # Step 2: the number of time steps, at full length and beat-synced
    print("\nstep 2a: mel bands and time steps at full length, then beat-synced (step2_mel_beat.png)")
    for version in (full, beat):
        for frames in version:
            print(frames[:, :N_MELS].T.shape)
    ratios = " and ".join(f"{len(frames) / len(beats):.1f}" for frames, beats in zip(full, beat, strict=True))
    print(
        f"beat-synced there are {ratios} times fewer steps; an LSTM takes them one by one and must remember across all"
    )
    run.save_figure("step2_mel_beat", mel_beat_figure(clips))

    # Step 3: the same for the chromagrams
    print("\nstep 3: notes and time steps at full length, then beat-synced (step3_chroma.png)")
    for version in (full, beat):
        for frames in version:
            print(frames[:, N_MELS:].T.shape)
    for label, frames, beats in clips:
        strongest, synced = (NOTES[int(each[:, N_MELS:].mean(axis=0).argmax())] for each in (frames, beats))
        print(f"{label}: strongest note on average {strongest}, beat-synced {synced}")
    run.save_figure("step3_chroma", chroma_figure(clips))

    # Step 4: the dataset, and the classes before and after the mapping
    counts = Counter(genre for _, genre, _ in rows)
    print_dataset(data, LabelTransformer(count_classes(counts, data.class_mapping)))
    imbalance = print_counts(counts, data.class_mapping)
    run.save_figure("step4_histograms", histograms_figure(counts, data.class_mapping))

    result = {"ids": [ident for ident, _, _ in chosen], "frames": list(map(len, full)), "beats": list(map(len, beat))}
    result = {name: ",".join(map(str, values)) for name, values in result.items()}
    run.finish(result, {"clips_per_genre": counts, "imbalance": imbalance})
    return result


def choose_clips(rows, class_mapping, ids, seed, label_file):
    """Two rows (id, genre, line): those of `ids`, else the write-up's, else two random ones of different classes."""
    by_id = {row[0]: row for row in rows}
    if ids:
        for ident in map(clip_id, ids):
            if ident not in by_id:
                raise LabError(f"--ids {ident}: a clip of the training split was expected, {label_file} has no such id")
        return [by_id[clip_id(ident)] for ident in ids]
    if all(ident in by_id and by_id[ident][1] == genre for ident, genre in CLIPS.items()):
        return [by_id[ident] for ident in CLIPS]
    order = np.random.default_rng(seed).permutation(len(rows))
    kept = [rows[number] for number in order if class_mapping[rows[number][1]] is not None]
    for row in kept:
        if class_mapping[row[1]] != class_mapping[kept[0][1]]:
            return [kept[0], row]
    raise LabError(f"{label_file}: clips of at least two classes were expected")


def read_two_clips(folder, chosen):
    """The (T, 140) spectrograms of the chosen rows in one split of a folder."""
    files = find_spectrograms(folder)
    for ident, _, _ in chosen:
        if ident not in files:
            raise LabError(f"{folder}: a file {ident}.fused.full.npy was expected")
    return [read_fused_spectrogram(files[ident]) for ident, _, _ in chosen]


def print_dataset(data, classes):
    """Step 4a: prints an item of SpectrogramDataset, of the shortest clip to show its padding.

    classes: the LabelTransformer of all classes.
    """
    dataset = SpectrogramDataset(
        data.genres(), data.class_mapping, features="mel", label_transformer=classes, at_most=SHOWN_CLIPS
    )
    item = int(np.argmin(dataset.lengths))
    features, label, length = dataset[item]
    padding, name = dataset.max_length - length, classes.inverse(int(label))
    print(f"\nstep 4a: a SpectrogramDataset of {len(dataset)} clips; dataset[{item}] is (features, label, length)")
    print(f"features : {features.shape} {features.dtype}, time steps of the longest clip and mel bands in dB;")
    print(f"           after the clip come {padding} frames of zeros: 0 dB is the maximum, not silence")
    print(f"label    : {label} {label.dtype}, class '{name}' of {len(classes.classes_)}, numbered by name from 0")
    print(f"length   : {length}, the clip's own frames; a network must ignore those after them")


def print_counts(counts, class_mapping):
    """Step 4b: prints clips before and after the mapping; returns largest / smallest class size, (before, after)."""
    classes = count_classes(counts, class_mapping)
    width = max(map(len, [*counts, *classes]))
    print("\nstep 4b, step4_histograms.png: training clips of each genre before the mapping, and its class")
    for genre in sorted(counts):
        print(f"{genre:{width}} {counts[genre]:6}  {class_mapping[genre] or '- (dropped)'}")
    print("training clips of each class after the mapping")
    for name, count in classes.items():
        print(f"{name:{width}} {count:6}")
    before, after = (max(sizes) / min(sizes) for sizes in (counts.values(), classes.values()))
    print(f"largest / smallest: {before:.2f} before the mapping, {after:.2f} after it")
    dropped = [genre for genre in counts if class_mapping[genre] is None]
    rarest = min((genre for genre in counts if class_mapping[genre] is not None), key=counts.get)
    larger = sum(counts[genre] > counts[rarest] for genre in dropped)
    print("the write-up says that the mapping drops genres with few clips. By these counts it drops", end=" ")
    kept = f"the rarest genre kept, {rarest} ({counts[rarest]})"
    print(f"{len(dropped)}; {larger} of them have more clips than {kept}" if dropped else "none")
    return before, after


if __name__ == "__main__":
    run_script(main)

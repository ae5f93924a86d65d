"""Step 11 of later years: what do the features look like by which the trained networks tell clips from each other?

    python step11_latent.py
    python step11_latent.py --data DIR --checkpoint runs/step7_cnn/mel_seed0/best.pt

PCA and t-SNE of the test split's features, before the last layer, for the best epoch of each network of steps 5 and 7
to 10 that --out holds for these data and this --seed, or for the checkpoints given. A picture of points shows groups
also where there are none; so numbers stand beside it: how well a clip's five nearest neighbours predict it, and the
silhouette, in all features and in the plane, for the trained network and for the same one untrained. Writes
runs/step11_latent/<variant>/: log, pictures and metrics.
"""

from pathlib import Path

import torch

from common.checks import warn_of_overlap
from common.cli import device, run_script, start_run, step_parser
from common.comparison import read_runs
from common.dataset import SpectrogramDataset, clip_labels, emotion_slices, genre_splits, make_loader
from common.errors import LabError
from common.locations import find_data
from common.report import print_results
from common.versions import fingerprint_text, trained_on
from extras.demo.folder import demo_folder
from extras.inside.latent import features_of, latent_figure, scores_of, spaces_of
from extras.songs.networks import build_model, load_network

STEP = "step11_latent"
STEPS = ("step5_lstm", "step7_cnn", "step7_ast", "step8_regression", "step9_transfer", "step10_multitask")
BATCH_SIZE = 32
FEWEST = 10  # clips; of fewer, neither neighbours nor pictures mean anything


def main(argv=None):
    parser = step_parser(__doc__)
    help_text = "of steps 5 and 7 to 10 (default: each full run of --seed on these data in --out)"
    parser.add_argument("--checkpoint", nargs="+", metavar="FILE", help=help_text)
    parser.add_argument("--device", type=device, default="auto", help="where to compute (default: %(default)s)")
    args = parser.parse_args(argv)
    data = find_data(args.data, demo=demo_folder)
    paths = [Path(path) for path in args.checkpoint or []] or trained_here(args.out, data, args.seed)
    rows = [row for path in paths for row in look_at(path, args, data)]
    return print_results(STEP, data, args.mode, [args.seed], [rows])


def trained_here(root, data, seed):
    """The checkpoints of the full runs of a seed on these data below `root`, in the order of STEPS."""
    runs = [run for step in STEPS for run in read_runs(root, step, data, mode="full", seed=seed)]
    paths = [Path(run["folder"]) / "best.pt" for run in runs]
    paths = [path for path in paths if path.exists()]
    if not paths:
        raise LabError(f"--out {root}: a full run of step 5 or 7 to 10 on these data, seed {seed}, was expected")
    return paths


def look_at(path, args, data):
    """Prints, draws and saves what one network's features look like; returns the values of its RESULT lines."""
    model, metadata, architecture = load_network(path)
    name = f"{metadata['step']}_{metadata['variant']}"
    folder = data.genres if architecture.head == "genre" else data.emotions
    folders = [folder(architecture.beat)]
    with start_run(args, STEP, f"Step 11: the features of {name}", data, args.seed, name, folders=folders) as run:
        print(f"checkpoint : {path}, epoch {metadata['epoch']}, trained on {trained_on(data, metadata)}")
        test_set, names = test_clips(path, data, metadata, architecture, args.reading)
        warn_of_overlap(metadata, test_set, "were used to train it")
        torch.manual_seed(args.seed)
        untrained = build_model(metadata["architecture"], metadata["classes"])
        labels = clip_labels(test_set).reshape(len(test_set), -1)
        networks = (("trained", model), ("untrained", untrained))
        loader = make_loader(test_set, BATCH_SIZE)
        spaces = [
            (text, spaces_of(features_of(each.backbone, loader, args.device), args.seed)) for text, each in networks
        ]
        size = spaces[0][1].full.shape[1]
        print(f"features   : {size} that vary, of {len(test_set)} test clips, each standardised")
        rows = []
        for number, axis in enumerate(names if architecture.head != "genre" else ["genre"]):
            targets = labels[:, number]
            shown = names if architecture.head == "genre" else [axis]
            run.save_figure(f"latent_{axis}", latent_figure(f"{name}: features by {axis}", spaces, targets, shown))
            for text, found in spaces:
                for space, points in found._asdict().items():
                    rows.append(
                        {"network": name, "by": axis, "weights": text, "space": space, **scores_of(points, targets)}
                    )
        print_table(rows, architecture.head == "genre")
        run.metadata |= {"classes": names, "checkpoint": str(path), "data": fingerprint_text(data, folders)}
        run.finish({row["by"]: row["neighbours"] for row in rows[:1]}, rows)
    return rows


def test_clips(path, data, metadata, architecture, reading):
    """The test split that a network is tested on, and the names of its classes or axes."""
    if architecture.head == "genre":
        options = data.genres(architecture.beat), data.class_mapping, architecture.columns
        test_set = genre_splits(*options, **reading)[1]
        names = test_set.label_transformer.classes_
        if names != metadata["classes"]:
            found = ", ".join(metadata["classes"])
            raise LabError(f"{path}: a network for {', '.join(names)} was expected, it is for {found}")
    else:
        names = metadata["classes"]
        axis = tuple(names) if architecture.head == "multitask" else names[0]
        folder = data.emotions(architecture.beat)
        labelled = SpectrogramDataset(folder, features=architecture.columns, axis=axis, **reading)
        test_set = emotion_slices(labelled, BATCH_SIZE, seed=metadata["seed"])[2].dataset
    if len(test_set) < FEWEST:
        raise LabError(f"{path}: at least {FEWEST} test clips were expected, there are {len(test_set)}")
    return test_set, names


def print_table(rows, genres):
    """The scores of one network, a line for each target, weights and space."""
    what = "accuracy" if genres else "rank correlation"
    print(
        f"5 nearest neighbours: {what} of what they predict; silhouette: by {'genre' if genres else 'thirds of the axis'}"
    )
    for row in rows:
        where = {"full": "all features", "pca": "PCA plane", "tsne": "t-SNE plane"}[row["space"]]
        scores = ["undefined" if row[key] is None else f"{row[key]:.3f}" for key in ("neighbours", "silhouette")]
        print(f"{row['by']:>13}, {row['weights']:9}, {where:12}: neighbours {scores[0]:>9}, silhouette {scores[1]:>9}")


if __name__ == "__main__":
    run_script(main)

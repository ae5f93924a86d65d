"""The tuned recipe, for the best scores: genres, or valence, energy and danceability.

    python compete.py genres --data DIR --seed 1
    python compete.py genres --network lstm
    python compete.py emotions --data DIR --submit solution.txt

Two networks are trained on all clips that the test does not need, and averaged; then they are combined with kernel
ridge and extra trees on statistics of the clips. extras/tuned/train.py has the recipe's numbers, benchmarks/ACCURACY.md
what each choice improves. Two RESULT blocks: the networks alone, then all. Writes runs/compete/<variant>/: log,
figures, predictions of both, metrics and the networks' checkpoints. Minutes: see README.
"""

import torch
from torch import nn

from common.checks import clip_checksums
from common.cli import run_script, start_run, step_parser
from common.dataset import SpectrogramDataset, clip_ids, clip_labels, emotion_slices, genre_splits, make_loader, without
from common.labels import AXES
from common.locations import find_data
from common.report import describe_axes, describe_genres, print_results, report_axes, report_genres, with_means_of_axes
from common.submission import write_submission
from common.training import evaluate
from extras.demo.folder import demo_folder
from extras.tuned.kernel_and_trees import axis_values, class_probabilities, song_statistics
from extras.tuned.train import RECIPE, emotion_loss, emotion_network, genre_network, train_networks

STEP = "compete"


def main(argv=None):
    parser = step_parser(__doc__, epochs=RECIPE["epochs"], lr=RECIPE["lr"], overfit=False, submit=True)
    parser.add_argument("task", choices=("genres", "emotions"))
    network_help = "for genres; with lstm there is no kernel ridge and no extra trees (default: cnn)"
    parser.add_argument("--network", choices=("cnn", "lstm"), default="cnn", help=network_help)
    members_help = "the ensemble whose predictions --submit writes (default: all)"
    parser.add_argument("--members", choices=("all", "networks"), default="all", help=members_help)
    args = parser.parse_args(argv)
    if args.task == "genres" and args.submit:
        parser.error("--submit is for emotions: python compete.py emotions was expected")
    if args.task == "emotions" and args.network == "lstm":
        parser.error("--network lstm is for genres: python compete.py genres was expected")
    data = find_data(args.data, demo=demo_folder)
    task = genres if args.task == "genres" else emotions
    rows_by_seed = [with_means_of_axes(task(args, data, seed)) for seed in args.seeds]
    return print_results(STEP, data, args.mode, args.seeds, rows_by_seed)


def genres(args, data, seed):
    name = args.network.upper()
    title = f"Tuned {name}s on mel spectrograms for genres"
    with start_run(args, STEP, title, data, seed, "genres", args.network, folders=[data.genres()]) as run:
        # Data: the recipe is fixed beforehand, so there is no validation set
        train_set, test_set = genre_splits(data.genres(), data.class_mapping, "mel", **args.reading)
        splits, classes = (train_set, None, test_set), train_set.label_transformer.classes_

        # Networks: the mean of their probabilities
        run.metadata["architecture"], build = genre_network(train_set, f"tuned-{args.network}", len(classes))
        describe_genres(run, build(), splits, classes)
        loss_function = nn.CrossEntropyLoss(label_smoothing=RECIPE["label_smoothing"])
        models, history = train_networks(
            run, build, train_set, loss_function, seed, args.epochs, args.batch_size, args.lr, args.device
        )
        tests = [
            evaluate(model, make_loader(test_set, args.batch_size), loss_function, args.device) for model in models
        ]
        networks = tests[0]._replace(
            outputs=torch.stack([test.outputs.softmax(dim=1) for test in tests]).mean(dim=0).log()
        )
        title = f"tuned {name}, {len(models)} networks"
        metrics = {
            "networks": report_genres(run, title, splits, networks, baselines=args.baselines, suffix="_networks")
        }

        # All: networks with kernel ridge and extra trees, by the weighted geometric mean of their probabilities, in
        # which a model that is sure that a genre is wrong counts more than in the arithmetic mean
        if args.network == "cnn" and args.mode == "full":
            statistics = song_statistics(train_set, tilt=True), clip_labels(train_set), song_statistics(test_set)
            others = torch.from_numpy(class_probabilities(*statistics)).log().float()
            outputs = networks.outputs.lerp(others, RECIPE["kernel_and_trees"]).log_softmax(dim=1)
            ensemble = networks._replace(outputs=outputs)
            metrics["all"] = report_genres(run, "networks, kernel ridge and extra trees", splits, ensemble)
        rows = [
            {"task": "genres", "members": members, "test_acc": each["accuracy"], "test_f1_macro": each["macro"]["f1"]}
            for members, each in metrics.items()
        ]
        run.finish(rows[-1], {"members": metrics}, history)
        return rows if args.network == "cnn" else [{"network": args.network, **row} for row in rows]


def emotions(args, data, seed):
    title, folders = "Tuned CNNs on mel spectrograms for three axes", [data.emotions()]
    with start_run(args, STEP, title, data, seed, "emotions", folders=folders) as run:
        # Data: the test clips of steps 8 to 10; their training and validation clips together are the training set
        labelled = SpectrogramDataset(data.emotions(), features="mel", axis=AXES, **args.reading)
        test_set = emotion_slices(labelled, args.batch_size, seed=seed)[2].dataset
        train_set = without(labelled, clip_ids(test_set))
        network = emotion_network(train_set)
        describe_axes(run, network[1](), (train_set, None, test_set), AXES)
        values, tests, history = emotion_values(args, run, network, train_set, test_set, seed)
        metrics = {}
        for members, outputs in values.items():
            print(f"\nmembers={members}")
            splits, test = (train_set, None, test_set), tests[0]._replace(outputs=outputs)
            baselines, suffix = (args.baselines, "_networks") if members == "networks" else (False, "")
            metrics[members] = report_axes(run, f"tuned, {members}", splits, test, baselines=baselines, suffix=suffix)
        scores = {
            members: {axis: {"spearman": each[axis]["spearman"]} for axis in AXES} for members, each in metrics.items()
        }
        run.finish(scores[members], {"members": metrics}, history)

        # Submission: all models are trained again, on every labelled clip, those of the test included
        if args.submit:
            unlabelled = SpectrogramDataset(
                data.emotions(), None, False, labelled.max_length, "mel", axis=AXES, **args.reading
            )
            values = emotion_values(args, run, emotion_network(labelled), labelled, unlabelled, seed, "submit")[0]
            submitted = values[args.members].tolist()
            write_submission(args.submit, unlabelled.ids, submitted, args.submit_header, args.submit_suffix)
            print(f"submission : {args.submit}, {len(submitted)} clips of the unlabelled test split")
        return [
            {"task": "emotions", "members": members, "axis": axis, **score}
            for members, by_axis in scores.items()
            for axis, score in by_axis.items()
        ]


def emotion_values(args, run, network, train_set, test_set, seed, name=""):
    """Trains the networks and, in a full run, kernel ridge and extra trees, and predicts the test clips.

    network: what emotion_network returns for train_set. Returns ({"networks": values (n, axes) and, in a full run,
    "all": values}, the Evaluation of each network, the last network's history of training).
    """
    run.metadata["architecture"], build = network
    run.metadata |= {"train_ids": clip_ids(train_set), "train_checksums": clip_checksums(train_set)}
    loss_function = emotion_loss(train_set)
    models, history = train_networks(
        run, build, train_set, loss_function, seed, args.epochs, args.batch_size, args.lr, args.device, name=name
    )
    tests = [evaluate(model, make_loader(test_set, args.batch_size), loss_function, args.device) for model in models]
    values = {"networks": torch.stack([test.outputs for test in tests]).mean(dim=0)}
    if args.mode == "full":
        statistics = song_statistics(train_set, tilt=True), clip_labels(train_set), song_statistics(test_set)
        others = torch.from_numpy(axis_values(*statistics)).float()
        values["all"] = values["networks"].lerp(others, RECIPE["kernel_and_trees"])
    return values, tests, history


if __name__ == "__main__":
    run_script(main)

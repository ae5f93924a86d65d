"""What does a trained network score? Any checkpoint of steps 5 to 10 or of compete.py, on the test clips of its seed,
in seconds.

    python evaluate.py runs/step7_cnn/mel_seed0/best.pt
    python evaluate.py best.pt --data DIR
    python evaluate.py runs/step10_multitask/cnn_seed0/best.pt --submit solution.txt

By default on the data that it was trained on. Prints its step's report and RESULT line, with mode=score; --submit
predicts the unlabelled test split with a network for all three axes. Writes runs/evaluate/<name>/: log, figures,
predictions and metrics.
"""

import os
from pathlib import Path

from torch import nn

from common.cache import cache_folder
from common.cli import OneSentenceParser, add_submit_flags, device, file_path, reading_options, run_script
from common.dataset import SpectrogramDataset, emotion_slices, genre_splits, make_loader
from common.errors import LabError
from common.labels import AXES
from common.locations import find_data
from common.report import print_header, print_results, report_axes, report_genres, warn_of_overlap, with_means_of_axes
from common.run import open_run
from common.submission import check_submit_path, write_submission
from common.training import evaluate
from common.versions import fingerprint_text, keep_checksums, trained_on
from extras.demo.folder import demo_folder
from extras.songs.networks import check_outputs, load_network
from extras.speed.accelerate import accelerate
from extras.writeup.expected import print_expected

BATCH_SIZE = 32


def main(argv=None):
    parser = OneSentenceParser(description=__doc__)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="best.pt of a run")
    parser.add_argument(
        "--data", type=file_path, metavar="DIR", help="the lab's data folder (default: the one that it was trained on)"
    )
    parser.add_argument("--cache", type=file_path, metavar="DIR", help="where the packed cache lies")
    parser.add_argument("--no-cache", action="store_true", help="read the files into memory instead")
    parser.add_argument(
        "--out",
        type=file_path,
        metavar="ROOT",
        default="runs",
        help="writes ROOT/evaluate/<name>/ (default: %(default)s)",
    )
    parser.add_argument(
        "--device", type=device, default="auto", help="cpu, cuda or PyTorch's name of another (default: %(default)s)"
    )
    add_submit_flags(parser)
    args = parser.parse_args(argv)
    model, metadata, architecture = load_network(args.checkpoint)
    if args.submit:
        if metadata["classes"] != list(AXES):
            raise LabError(
                f"--submit: a network for {', '.join(AXES)} was expected, {args.checkpoint} is for {', '.join(metadata['classes'])}"
            )
        check_submit_path(args.submit, args.submit_header, args.submit_suffix)
    if args.data is None and not os.path.isdir(metadata["data_path"]):  # Path.is_dir raises where a name is too long
        raise LabError(
            f"--data DIR was expected, {metadata['data_path']}, on which {args.checkpoint} was trained, is not there any more"
        )
    data = find_data(args.data or metadata["data_path"], demo=demo_folder)
    name = f"{metadata['step']}_{metadata['variant']}_{Path(args.checkpoint).stem}"
    keep_checksums(data, cache_folder(args.cache, args.no_cache))
    folder = data.genres if architecture.head == "genre" else data.emotions
    about = {
        "mode": "score",
        "seed": metadata["seed"],
        **data.metadata(),
        "data": fingerprint_text(data, [folder(architecture.beat)]),
        "checkpoint": args.checkpoint,
        "classes": metadata["classes"],
    }
    about |= {key: metadata[key] for key in ("features", "loss", "model", "axis", "start") if key in metadata}
    with open_run(Path(args.out).resolve() / "evaluate" / name, about, vars(args)) as run:
        run.metadata["step"] = metadata["step"]
        print_header(f"Scoring {args.checkpoint}", data, run, {"no_cache", "submit"})
        which, origin = f"{metadata['step']}/{metadata['variant']}", trained_on(data, metadata)
        print(f"checkpoint : epoch {metadata['epoch']} of {which}, trained on {origin}")
        if metadata["class_mapping"] != data.class_mapping:
            print("             its class table was another one, so equal class names may mean other genres")
        model = accelerate(model.to(args.device), args.device)
        score = score_genres if architecture.head == "genre" else score_axes
        rows = score(args, data, run, model, metadata, architecture)
    return print_results(metadata["step"], data, "score", [metadata["seed"]], [with_means_of_axes(rows)])


def score_genres(args, data, run, model, metadata, architecture):
    train_set, test_set = genre_splits(
        data.genres(architecture.beat), data.class_mapping, architecture.columns, **reading_options(args)
    )
    if test_set.label_transformer.classes_ != metadata["classes"]:
        there = ", ".join(test_set.label_transformer.classes_)
        raise LabError(
            f"{args.checkpoint}: a network for {there} was expected, it is for {', '.join(metadata['classes'])}"
        )
    warn_of_overlap(metadata, test_set, "were used to train it")
    test = evaluate(model, make_loader(test_set, BATCH_SIZE), nn.CrossEntropyLoss(), args.device)
    check_outputs(args.checkpoint, test.outputs)
    splits = train_set, None, test_set
    metrics = report_genres(run, f"{metadata['step']}, {metadata['variant']}", splits, test)
    print_expected(run, splits, metrics)
    choices = {key: metadata[key] for key in ("features", "start") if key in metadata}
    return [
        {**choices, **run.finish({"test_acc": metrics["accuracy"], "test_f1_macro": metrics["macro"]["f1"]}, metrics)}
    ]


def score_axes(args, data, run, model, metadata, architecture):
    axes = tuple(metadata["classes"]) if architecture.head == "multitask" else metadata["classes"][0]
    folder, columns, reading = data.emotions(architecture.beat), architecture.columns, reading_options(args)
    labelled = SpectrogramDataset(folder, features=columns, axis=axes, **reading)
    splits = [loader.dataset for loader in emotion_slices(labelled, BATCH_SIZE, seed=metadata["seed"])]
    warn_of_overlap(metadata, splits[2], "were used to train it")
    test = evaluate(model, make_loader(splits[2], BATCH_SIZE), nn.MSELoss(), args.device)
    check_outputs(args.checkpoint, test.outputs)
    metrics = report_axes(run, f"{metadata['step']}, {metadata['variant']}", splits, test)
    print_expected(run, splits, metrics)
    run.finish({axis: {"spearman": each["spearman"]} for axis, each in metrics.items()}, metrics)
    if args.submit:
        hidden = SpectrogramDataset(folder, None, False, labelled.max_length, columns, axis=axes, **reading)
        values = evaluate(model, make_loader(hidden, BATCH_SIZE), nn.MSELoss(), args.device).outputs.tolist()
        write_submission(args.submit, hidden.ids, values, args.submit_header, args.submit_suffix)
        print(f"submission : {args.submit}, {len(values)} clips of the unlabelled test split")
    choices = {key: metadata[key] for key in ("model", "start") if key in metadata}
    return [{**choices, "axis": axis, "spearman": each["spearman"]} for axis, each in metrics.items()]


if __name__ == "__main__":
    run_script(main)

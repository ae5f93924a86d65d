"""Steps 5 and 6: which features let an LSTM recognise the genre: mel, beat-synced mel, chroma, or mel and chroma fused?

    python step5_lstm.py
    python step5_lstm.py --features beat --loss squared-error
    python step5_lstm.py --features chroma fused --beat
    python step5_lstm.py --checkpoint runs/step5_lstm/beat_cross-entropy_seed0/best.pt --epochs 0

Trains the four LSTMs one after the other and evaluates each on the test side (step 6). Needs no earlier step.
Writes runs/step5_lstm/<variant>/ for each: log, figures, predictions, metrics and the best epoch's checkpoint. Minutes: see README.
"""

import torch
from torch import nn

from common.checkpoints import checkpoint_fact
from common.cli import each_seed, parse_arguments, reading_options, run_script, step_parser, take_from_checkpoint, variant_name
from common.dataset import clip_ids, clip_labels, genre_sides, make_loader, torch_train_val_split
from common.findings import say_step5
from common.locations import find_data
from common.metrics import accuracy, mean_or_none, prior_losses, squared_error_loss
from common.models import Classifier, LSTMBackbone
from common.progress import progress
from common.report import (
    beside_writeup,
    load_given,
    print_genre_facts,
    print_header,
    print_references,
    report_baselines,
    report_genres,
    report_training,
)
from common.resume import resumable
from common.run import open_run, print_results
from common.training import BestEpoch, evaluate, overfit_batch, train_epoch
from common.verdicts import watch_training
from common.writeup import STEP5_LSTM
from extras.demo.folder import demo_folder
from extras.speed.accelerate import accelerate
from extras.speed.processes import join_processes, share_out
from extras.tuned.train import tuned_genres

STEP = "step5_lstm"

# The write-up's choices: rnn size 128, 2 layers, no dropout, regularisation 0.001 as Adam's weight decay, rate 0.0001, 15 epochs.
RNN_SIZE = 128
NUM_LAYERS = 2
WEIGHT_DECAY = 1e-3
LEARNING_RATE = 1e-4
EPOCHS = 15
VAL_SIZE = 0.33  # its validation accuracies are multiples of 1/760, a third of 2305 clips
# It names the cross entropy; the logs of its 5a, 5b and 5d show the squared error of the softmax instead, which --loss offers too.
LOSSES = {"cross-entropy": nn.CrossEntropyLoss(), "squared-error": squared_error_loss}
# Left open by it and chosen here: one direction, the state at the last real frame meets a linear classifier, input in dB as it is.
# Validation accuracy picks the epoch, the loss decides between equals.
BIDIRECTIONAL = False

# What a network sees of a clip: the columns, and whether the frames are beats. The write-up's four, and what --beat makes of two.
FEATURE_SETS = {"mel": ("mel", False), "beat": ("mel", True), "chroma": ("chroma", False), "fused": ("fused", False)}
SYNCED = {"mel": "beat", "chroma": "chroma-beat", "fused": "fused-beat"}
ALL_SETS = {**FEATURE_SETS, "chroma-beat": ("chroma", True), "fused-beat": ("fused", True)}


def parser():
    flags = step_parser(__doc__, epochs=EPOCHS, lr=LEARNING_RATE, tuned="lstm")
    flags.add_argument("--features", nargs="+", choices=FEATURE_SETS, help="beat is beat-synced mel (default: all four)")
    flags.add_argument("--beat", action="store_true", help="beat-synced frames for all: beat, chroma-beat, fused-beat")
    flags.add_argument("--loss", choices=LOSSES, default="cross-entropy", help="what is minimised (default: %(default)s)")
    return flags


def main(argv=None):
    args = parse_arguments(parser(), argv)
    join_processes(args)
    data = find_data(args.data, demo=demo_folder)
    take_from_checkpoint(args, "loss")
    chosen = [SYNCED.get(name, name) if args.beat else name for name in args.features or FEATURE_SETS]
    if args.checkpoint and not args.features:
        chosen = [checkpoint_fact(args.checkpoint, "features", ALL_SETS)]
    data.require(*(data.genres(beat=ALL_SETS[features][1]) for features in chosen))
    by_seed = [one_seed(each, data, dict.fromkeys(chosen)) for each in each_seed(args)]
    if args.mode != "overfit":
        print_comparison(by_seed)
    if args.mode == "full":
        say_step5(args, data)
    return print_results(STEP, args, data, by_seed)


def one_seed(args, data, chosen):
    rows = []
    for features in chosen:
        with open_run(args, STEP, variant_name(args, features, args.loss), data) as run:
            loss = {"loss": args.loss} if args.loss != "cross-entropy" else {}
            recipe = {"recipe": args.recipe} if args.recipe == "tuned" else {}
            rows.append({"features": features, **loss, **recipe, **train_and_test(args, data, run, features)})
    return rows


def train_and_test(args, data, run, features):
    columns, beat = ALL_SETS[features]
    print_header(f"Step 5: an LSTM on {features}, {args.loss}", data, args, run)

    # Data
    train_side, test_set = genre_sides(data.genres(beat), data.class_mapping, columns, **reading_options(args))
    if args.recipe == "tuned":
        return tuned_genres(args, run, data.genres(beat), "tuned-lstm", features, columns, train_side, test_set)[0]
    train_loader, val_loader = torch_train_val_split(train_side, args.batch_size, args.batch_size, VAL_SIZE, seed=args.seed)
    test_loader = make_loader(test_set, args.batch_size)
    classes = train_side.label_transformer.classes_

    # Model
    print("chosen here: one direction, the state at the last real frame, one linear layer; the rest is the write-up's")
    torch.manual_seed(args.seed)
    backbone = LSTMBackbone(train_side.feat_dim, RNN_SIZE, NUM_LAYERS, BIDIRECTIONAL)
    model = Classifier(backbone, len(classes)).to(args.device)
    model = accelerate(model, args.device)
    loss_function = LOSSES[args.loss]
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, weight_decay=WEIGHT_DECAY)
    print_genre_facts(classes, train_loader.dataset, val_loader.dataset, test_set, model)
    references = print_references(prior_losses(clip_labels(train_loader.dataset), len(classes)), args.loss)
    if args.overfit_batch:
        return run.finish(overfit_batch(model, train_loader, loss_function, optimizer, args.device))
    run.facts |= {"architecture": ["lstm", features, RNN_SIZE, NUM_LAYERS, BIDIRECTIONAL], "classes": classes}
    run.facts |= {"features": features, "loss": args.loss, "weight_decay": WEIGHT_DECAY, "val_size": VAL_SIZE, "seen": clip_ids(train_side)}
    if args.checkpoint:
        load_given(args.checkpoint, model, run, test_set)

    # Training
    best, history = BestEpoch(model), []
    train_loader, loss_function = share_out(model, train_loader, loss_function)
    epochs = range(args.epochs)
    epochs = resumable(epochs, run, model, optimizer, train_loader, best, history)
    for epoch in progress(epochs, "epochs", "epoch"):
        train_loss = train_epoch(model, train_loader, loss_function, optimizer, args.device)
        val = evaluate(model, val_loader, loss_function, args.device)
        val_acc = accuracy(val.outputs, val.targets)
        print(f"epoch : {epoch} ,training loss = {train_loss}")
        print(f"Accuracy in validation set = {100 * val_acc} %")
        print(f"epoch : {epoch} ,validation loss = {val.loss}")
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val.loss, "val_acc": val_acc})
        watch_training(history, val, references)
        if best.update(epoch, (val_acc, -val.loss), model):
            run.save_best(best)
    best.restore(model)

    # Step 6: the test side, once, with the best epoch's weights
    test = evaluate(model, test_loader, loss_function, args.device)
    val = evaluate(model, val_loader, loss_function, args.device) if history else None
    report_training(run, f"LSTM on {features}", history, best, args.loss, references)
    metrics = report_genres(run, f"LSTM on {features}", classes, test_set, test, val_loader.dataset, val)
    print(f"\n{beside_writeup(data, args, len(test_set))}")
    metrics["baselines"] = report_baselines(args, run, data.genres(beat), train_side, test_set, metrics["accuracy"])
    return run.finish({"test_acc": metrics["accuracy"], "test_f1_macro": metrics["macro"]["f1"]}, metrics, history)


def print_comparison(by_seed):
    """The LSTMs in one table, means over the seeds, beside the write-up's figures."""
    print("\nfeatures       accuracy  macro F1 | write-up: accuracy  macro F1")
    for rows in zip(*by_seed, strict=True):
        features = rows[0]["features"]
        theirs = STEP5_LSTM.get(features)
        beside = f"{theirs['test_acc']:18.2f} {theirs['test_f1_macro']:9.2f}" if theirs else f"{'-':>18} {'-':>9}"
        ours = [mean_or_none(row[key] for row in rows) for key in ("test_acc", "test_f1_macro")]
        print(f"{features:14} {ours[0]:8.4f} {ours[1]:9.4f} |{beside}")


if __name__ == "__main__":
    run_script(main)

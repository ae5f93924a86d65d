"""Step 8: can an LSTM and a CNN predict valence, energy and danceability, numbers in 0..1, from spectrograms?

    python step8_regression.py
    python step8_regression.py --model cnn --axis energy
    python step8_regression.py --seeds 5

Needs no earlier step. One network for each model and axis, one after the other; step 9 and 10 compare themselves with them.
Writes runs/step8_regression/<variant>/ for each: log, figures, predictions, metrics and the best epoch's checkpoint. Minutes: see README.
"""

import torch
from torch import nn

from common.checkpoints import checkpoint_fact
from common.cli import each_seed, parse_arguments, reading_options, run_script, step_parser, variant_name
from common.dataset import SpectrogramDataset, clip_ids, emotion_slices, without
from common.findings import say_step8
from common.labels import AXES
from common.locations import find_data
from common.models import CNNBackbone, LSTMBackbone, Regressor
from common.progress import progress
from common.report import (
    axis_results,
    axis_rows,
    load_given,
    print_axis_facts,
    print_header,
    report_axis,
    report_baselines,
    report_training,
)
from common.resume import resumable
from common.run import open_run, print_results
from common.training import BestEpoch, evaluate, overfit_batch, train_epoch
from common.verdicts import watch_training
from extras.demo.folder import demo_folder
from extras.speed.accelerate import accelerate
from extras.speed.processes import join_processes, share_out

STEP = "step8_regression"

# The write-up takes the networks of steps 5 and 7 as they are, with the mean squared error in place of the cross entropy, and 15 and
# 50 epochs. The features are the best of step 5 for the LSTM and step 7's for the CNN.
FEATURES = {"lstm": ("mel", True), "cnn": ("mel", False)}  # columns, beat-synced?
BACKBONES = {"lstm": lambda n_mels: LSTMBackbone(n_mels, rnn_size=128, num_layers=2), "cnn": lambda n_mels: CNNBackbone(n_mels)}
EPOCHS = {"lstm": 15, "cnn": 50}
LEARNING_RATES = {"lstm": 1e-4, "cnn": 1e-3}
WEIGHT_DECAY = {"lstm": 1e-3, "cnn": 0.0}  # as in steps 5 and 7
LOG_EVERY = {"lstm": 1, "cnn": 5}  # epochs from one pair of log lines to the next
# Left open by the write-up: which clips its correlations are of. Here a fifth is held out as test and scored once, a third of the rest
# validates and picks the epoch, by its loss; the output is linear, not squeezed into 0..1.


def main(argv=None):
    parser = step_parser(__doc__, epochs=EPOCHS, lr=LEARNING_RATES)
    parser.add_argument("--model", nargs="+", choices=FEATURES, help="which networks (default: both)")
    parser.add_argument("--axis", nargs="+", choices=AXES, help="which axes (default: all three)")
    args = parse_arguments(parser, argv)
    if args.checkpoint:
        args.model = args.model or [checkpoint_fact(args.checkpoint, "model", FEATURES)]
        args.axis = args.axis or [checkpoint_fact(args.checkpoint, "axis", AXES)]
    join_processes(args)
    data = find_data(args.data, demo=demo_folder)
    data.require(*(data.emotions(FEATURES[name][1]) for name in args.model or FEATURES))
    by_seed = [one_seed(each, data) for each in each_seed(args)]
    if args.mode == "full":
        say_step8(args, data)
    return print_results(STEP, args, data, by_seed)


def one_seed(args, data):
    rows = []
    for model in dict.fromkeys(args.model or FEATURES):
        found = {}
        for axis in dict.fromkeys(args.axis or AXES):
            with open_run(args, STEP, variant_name(args, model, axis), data) as run:
                found[axis] = train_and_test(args, data, run, model, axis)
        rows += axis_results(found, {"model": model})
    return rows


def train_and_test(args, data, run, name, axis):
    columns, beat = FEATURES[name]
    print_header(f"Step 8: {name.upper()} on {'beat-synced ' * beat}{columns}, {axis}", data, args, run)

    # Data: three slices of the labelled side
    labelled = SpectrogramDataset(data.emotions(beat), features=columns, axis=axis, **reading_options(args))
    train_loader, val_loader, test_loader = emotion_slices(labelled, args.batch_size, seed=args.seed)

    # Model
    torch.manual_seed(args.seed)
    model = Regressor(BACKBONES[name](labelled.feat_dim)).to(args.device)
    model = accelerate(model, args.device)
    loss_function = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr[name], weight_decay=WEIGHT_DECAY[name])
    references = print_axis_facts(train_loader.dataset, val_loader.dataset, test_loader.dataset, [axis], model)
    if args.overfit_batch:
        return run.finish(overfit_batch(model, train_loader, loss_function, optimizer, args.device))
    run.facts |= {"architecture": [name, columns, beat, "regressor"], "classes": [axis], "model": name, "axis": axis}
    run.facts["seen"] = clip_ids(train_loader.dataset) + clip_ids(val_loader.dataset)
    if args.checkpoint:
        load_given(args.checkpoint, model, run, test_loader.dataset)

    # Training
    best, history = BestEpoch(model), []
    train_loader, loss_function = share_out(model, train_loader, loss_function)
    epochs = range(args.epochs[name])
    epochs = resumable(epochs, run, model, optimizer, train_loader, best, history)
    for epoch in progress(epochs, "epochs", "epoch"):
        train_loss = train_epoch(model, train_loader, loss_function, optimizer, args.device)
        val = evaluate(model, val_loader, loss_function, args.device)
        if epoch % LOG_EVERY[name] == 0:
            print(f"epoch : {epoch} ,training loss = {train_loss}")
            print(f"epoch : {epoch} ,validation loss = {val.loss}")
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val.loss})
        watch_training(history, val, references)
        if best.update(epoch, -val.loss, model):
            run.save_best(best)
    best.restore(model)

    # Test, once, with the best epoch's weights
    test = evaluate(model, test_loader, loss_function, args.device)
    title = f"{name.upper()}, {axis}"
    report_training(run, title, history, best, "squared error", references)
    metrics = report_axis(run, title, axis, None, test, train_loader.dataset)
    known = without(labelled, clip_ids(test_loader.dataset))
    metrics["baselines"] = report_baselines(args, run, data.emotions(beat), known, test_loader.dataset, metrics["spearman"], axis)
    run.save_predictions(axis_rows("test", [axis], test_loader.dataset, test))
    return run.finish({"spearman": metrics["spearman"]}, metrics, history)


if __name__ == "__main__":
    run_script(main)

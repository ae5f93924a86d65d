"""Step 8: how well do an LSTM and a CNN predict valence, energy and danceability (0 to 1) from spectrograms?

    python step8_regression.py
    python step8_regression.py --model cnn --axis energy
    python step8_regression.py --seeds 5

The networks of the write-up, the report of 2020-21 that this repository makes reproducible: one for each model and
axis, one after the other. Needs no earlier step; steps 9 and 10 compare themselves with it. About 14 minutes on the demo
music with 2 CPU cores. Writes runs/step8_regression/<variant>/ for each: log, pictures, predictions, metrics, best.pt.
"""

import torch
from torch import nn
from tqdm import tqdm

from common.checks import overfit_batch, watch_training
from common.cli import run_script, start_run, step_parser
from common.comparison import compare_step8
from common.dataset import SpectrogramDataset, emotion_slices
from common.labels import AXES
from common.locations import find_data
from common.models import CNNBackbone, LSTMBackbone, Regressor
from common.report import describe_axes, print_results, report_axes, report_training, with_means_of_axes
from common.resume import resumable
from common.training import BestEpoch, evaluate, train_epoch
from extras.demo.folder import demo_folder
from extras.speed.accelerate import accelerate
from extras.speed.processes import join_processes, share_out
from extras.writeup.expected import print_expected

STEP = "step8_regression"

# The write-up takes the networks of steps 5 and 7 as they are, with the mean squared error in place of the cross
# entropy, and 15 and 50 epochs. The features are the best of step 5 for the LSTM and step 7's for the CNN.
FEATURES = {"lstm": ("mel", True), "cnn": ("mel", False)}  # columns, beat-synced?
BACKBONES = {"lstm": LSTMBackbone, "cnn": CNNBackbone}
SIZES = {"lstm": (128, 2), "cnn": ((16, 32, 64, 128), 3)}  # rnn size and layers; filters of the stages and their size
EPOCHS = {"lstm": 15, "cnn": 50}
LEARNING_RATES = {"lstm": 1e-4, "cnn": 1e-3}
WEIGHT_DECAY = {"lstm": 1e-3, "cnn": 0.0}  # as in steps 5 and 7
LOG_EVERY = {"lstm": 1, "cnn": 5}  # epochs from one pair of log lines to the next
# The write-up does not say on which clips it measured. Here a fifth of the labelled clips is the test split, used once; a
# third of the rest is for validation, whose loss picks the epoch. The output is linear, not limited to 0..1.


def main(argv=None):
    parser = step_parser(__doc__, epochs=EPOCHS, lr=LEARNING_RATES)
    models = {"choices": FEATURES, "default": list(FEATURES), "metavar": "NAME"}
    parser.add_argument("--model", nargs="+", **models, help="lstm, cnn (default: both)")
    axes = {"choices": AXES, "default": list(AXES), "metavar": "AXIS"}
    parser.add_argument("--axis", nargs="+", **axes, help=f"{', '.join(AXES)} (default: all three)")
    args = parser.parse_args(argv)
    join_processes(args)
    data = find_data(args.data, demo=demo_folder)
    data.require(*(data.emotions(FEATURES[model][1]) for model in args.model))
    networks = [(model, axis) for model in dict.fromkeys(args.model) for axis in dict.fromkeys(args.axis)]
    rows_by_seed = [[train_and_test(args, data, seed, *network) for network in networks] for seed in args.seeds]
    rows_by_seed = [with_means_of_axes(rows) for rows in rows_by_seed]
    if args.mode == "full":
        compare_step8(args.out, data, args.seeds)
    return print_results(STEP, data, args.mode, args.seeds, rows_by_seed)


def train_and_test(args, data, seed, name, axis):
    columns, beat = FEATURES[name]
    choices = {"model": name, "axis": axis}
    title = f"Step 8: {name.upper()} on {'beat-synced ' * beat}{columns}, {axis}"
    with start_run(args, STEP, title, data, seed, name, axis, folders=[data.emotions(beat)]) as run:
        # Data: three splits of the labelled clips
        labelled = SpectrogramDataset(data.emotions(beat), features=columns, axis=axis, **args.reading)
        train_loader, val_loader, test_loader = emotion_slices(labelled, args.batch_size, seed=seed)
        splits = train_loader.dataset, val_loader.dataset, test_loader.dataset

        # Model
        torch.manual_seed(seed)
        model = Regressor(BACKBONES[name](labelled.feat_dim, *SIZES[name])).to(args.device)
        model = accelerate(model, args.device)
        loss_function = nn.MSELoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=args.lr[name], weight_decay=WEIGHT_DECAY[name])
        references = describe_axes(run, model, splits, [axis])
        run.metadata |= {"architecture": [name, columns, beat, *SIZES[name], "regressor"], "model": name, "axis": axis}
        if args.overfit_batch:
            return {**choices, **run.finish(overfit_batch(model, train_loader, loss_function, optimizer, args.device))}

        # Training
        best, history = BestEpoch(model), []
        train_loader, loss_function = share_out(model, train_loader, loss_function)
        epochs = range(args.epochs[name])
        epochs = resumable(epochs, run, model, optimizer, train_loader, best, history)
        for epoch in tqdm(epochs, "epochs", unit="epoch", disable=None):
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

        # Test once, with the best epoch's weights
        test = evaluate(model, test_loader, loss_function, args.device)
        report_training(run, f"{name.upper()}, {axis}", history, best, "squared error", references)
        metrics = report_axes(run, name.upper(), splits, test, baselines=args.baselines)
        print_expected(run, splits, metrics)
        return {**choices, **run.finish({"spearman": metrics[axis]["spearman"]}, metrics[axis], history)}


if __name__ == "__main__":
    run_script(main)

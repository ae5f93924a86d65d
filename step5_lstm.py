"""Steps 5 and 6: how well does an LSTM recognise the genre from mel, beat-synced mel, chroma, or mel and chroma fused?

    python step5_lstm.py
    python step5_lstm.py --features beat --loss squared-error
    python step5_lstm.py --features chroma fused --beat

Trains the four LSTMs of the write-up (the report of 2020-21 that this repository makes reproducible) one after the
other, and evaluates each on the test split (step 6). Needs no earlier step. About 6 minutes on the demo music with 2 CPU
cores. Writes runs/step5_lstm/<variant>/ for each: log, pictures, predictions, metrics and best.pt.
"""

import torch
from torch import nn
from tqdm import tqdm

from common.checks import overfit_batch, watch_training
from common.cli import run_script, start_run, step_parser
from common.comparison import compare_step5
from common.dataset import genre_splits, make_loader, torch_train_val_split
from common.locations import find_data
from common.metrics import squared_error_loss
from common.models import Classifier, LSTMBackbone
from common.report import describe_genres, print_results, report_genres, report_training
from common.resume import resumable
from common.training import BestEpoch, evaluate, train_epoch
from extras.demo.folder import demo_folder
from extras.speed.accelerate import accelerate
from extras.speed.processes import join_processes, share_out
from extras.writeup.expected import print_expected

STEP = "step5_lstm"

# The write-up's choices: rnn size 128, 2 layers, no dropout, regularisation 0.001 as Adam's weight decay, learning rate
# 0.0001, 15 epochs.
RNN_SIZE = 128
NUM_LAYERS = 2
WEIGHT_DECAY = 1e-3
LEARNING_RATE = 1e-4
EPOCHS = 15
VAL_SIZE = 0.33  # its validation accuracies are multiples of 1/760, a third of 2305 clips
# It names the cross entropy; the logs of its 5a, 5b and 5d show the squared error of the softmax, which --loss offers.
LOSSES = {"cross-entropy": nn.CrossEntropyLoss(), "squared-error": squared_error_loss}
# Chosen here, since the write-up leaves it open: one direction, a linear classifier on the state at the last real frame,
# input in dB without scaling. Validation accuracy picks the epoch; of equal accuracies, the lower loss.
BIDIRECTIONAL = False
# Features and whether frames are beats: the write-up's four, and with --beat three that are beat-synced.
FEATURE_SETS = {"mel": ("mel", False), "beat": ("mel", True), "chroma": ("chroma", False), "fused": ("fused", False)}
SYNCED = {"mel": "beat", "beat": "beat", "chroma": "chroma-beat", "fused": "fused-beat"}
ALL_SETS = {**FEATURE_SETS, "chroma-beat": ("chroma", True), "fused-beat": ("fused", True)}


def main(argv=None):
    parser = step_parser(__doc__, epochs=EPOCHS, lr=LEARNING_RATE)
    sets = {"choices": FEATURE_SETS, "default": list(FEATURE_SETS), "metavar": "NAME"}
    parser.add_argument("--features", nargs="+", **sets, help="mel, beat (beat-synced), chroma, fused (default: all)")
    parser.add_argument("--beat", action="store_true", help="beat-synced frames for all: beat, chroma-beat, fused-beat")
    parser.add_argument("--loss", choices=LOSSES, default="cross-entropy", help="to minimise (default: %(default)s)")
    args = parser.parse_args(argv)
    chosen = list(dict.fromkeys(SYNCED[name] if args.beat else name for name in args.features))
    join_processes(args)
    data = find_data(args.data, demo=demo_folder)
    data.require(*(data.genres(beat=ALL_SETS[features][1]) for features in chosen))
    rows_by_seed = [[train_and_test(args, data, seed, features) for features in chosen] for seed in args.seeds]
    if args.mode == "full":
        compare_step5(args.out, data, args.seeds, args.loss)
    return print_results(STEP, data, args.mode, args.seeds, rows_by_seed)


def train_and_test(args, data, seed, features):
    columns, beat = ALL_SETS[features]
    choices = {"features": features, "loss": args.loss} if args.loss != "cross-entropy" else {"features": features}
    title = f"Step 5: an LSTM on {features}, {args.loss}"
    with start_run(args, STEP, title, data, seed, features, args.loss, folders=[data.genres(beat)]) as run:
        # Data
        train_set, test_set = genre_splits(data.genres(beat), data.class_mapping, columns, **args.reading)
        batch_sizes = args.batch_size, args.batch_size
        train_loader, val_loader = torch_train_val_split(train_set, *batch_sizes, VAL_SIZE, seed=seed)
        test_loader = make_loader(test_set, args.batch_size)
        splits = train_loader.dataset, val_loader.dataset, test_set
        classes = train_set.label_transformer.classes_

        # Model
        print("chosen here: one direction, state at the last real frame, linear classifier; the rest is the write-up's")
        torch.manual_seed(seed)
        backbone = LSTMBackbone(train_set.feat_dim, RNN_SIZE, NUM_LAYERS, BIDIRECTIONAL)
        model = Classifier(backbone, len(classes)).to(args.device)
        model = accelerate(model, args.device)
        loss_function = LOSSES[args.loss]
        optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, weight_decay=WEIGHT_DECAY)
        references = describe_genres(run, model, splits, classes, args.loss)
        run.metadata |= {"architecture": ["lstm", features, RNN_SIZE, NUM_LAYERS, BIDIRECTIONAL]}
        run.metadata |= {"features": features, "loss": args.loss, "weight_decay": WEIGHT_DECAY, "val_size": VAL_SIZE}
        if args.overfit_batch:
            return {**choices, **run.finish(overfit_batch(model, train_loader, loss_function, optimizer, args.device))}

        # Training
        best, history = BestEpoch(model), []
        train_loader, loss_function = share_out(model, train_loader, loss_function)
        epochs = range(args.epochs)
        epochs = resumable(epochs, run, model, optimizer, train_loader, best, history)
        for epoch in tqdm(epochs, "epochs", unit="epoch", disable=None):
            train_loss = train_epoch(model, train_loader, loss_function, optimizer, args.device)
            val = evaluate(model, val_loader, loss_function, args.device)
            val_acc = (val.outputs.argmax(dim=1) == val.targets).double().mean().item()
            print(f"epoch : {epoch} ,training loss = {train_loss}")
            print(f"Accuracy in validation set = {100 * val_acc} %")
            print(f"epoch : {epoch} ,validation loss = {val.loss}")
            history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val.loss, "val_acc": val_acc})
            watch_training(history, val, references)
            if best.update(epoch, (val_acc, -val.loss), model):
                run.save_best(best)
        best.restore(model)

        # Step 6: test once, with the best epoch's weights
        test = evaluate(model, test_loader, loss_function, args.device)
        val = evaluate(model, val_loader, loss_function, args.device)
        report_training(run, f"LSTM on {features}", history, best, args.loss, references)
        metrics = report_genres(run, f"LSTM on {features}", splits, test, val, baselines=args.baselines)
        print_expected(run, splits, metrics)
        result = {"test_acc": metrics["accuracy"], "test_f1_macro": metrics["macro"]["f1"]}
        return {**choices, **run.finish(result, metrics, history)}


if __name__ == "__main__":
    run_script(main)

"""Step 9: does a CNN that was pretrained on genres predict an emotion better than the same CNN from scratch?

    python step9_transfer.py
    python step9_transfer.py --pretrained runs/step7_cnn/mel_seed0/best.pt
    python step9_transfer.py --axis valence energy danceability --freeze

As in the write-up, the report of 2020-21 that this repository makes reproducible. Pretrains the genre CNN of step 7,
without the clips that it will validate and test with, or takes a checkpoint of step 7. About 8 minutes on the demo music
with 2 CPU cores. Writes runs/step9_transfer/<variant>/: genres_* for the pretraining, <axis>_transfer_* and
<axis>_scratch_* for the two regressors.
"""

import torch
from torch import nn
from tqdm import tqdm

from common.checkpoints import read_backbone
from common.checks import watch_training
from common.cli import run_script, start_run, step_parser
from common.comparison import compare_step9
from common.dataset import emotion_loaders, genre_loaders
from common.locations import find_data
from common.models import Classifier, CNNBackbone, Regressor
from common.report import (
    describe_genres,
    describe_transfer,
    print_results,
    report_axes,
    report_genres,
    report_training,
)
from common.resume import resumable
from common.training import BestEpoch, evaluate, train_epoch
from extras.demo.folder import demo_folder
from extras.speed.accelerate import accelerate
from extras.speed.processes import join_processes, share_out
from extras.writeup.expected import print_expected

STEP = "step9_transfer"

# The write-up takes the CNN of step 7, its best epoch on the genres, and fine-tunes it on valence in 10 epochs.
AXIS = "valence"
MEL_BANDS, CHANNELS, KERNEL_SIZE = 128, (16, 32, 64, 128), 3  # step 7's: its checkpoints fit
ARCHITECTURE = ["cnn", "mel", list(CHANNELS), KERNEL_SIZE]
PRETRAIN_EPOCHS = 25
EPOCHS = 10
LEARNING_RATE = 1e-3  # as in steps 7 and 8, for genres, fine-tuning and scratch alike
VAL_SIZE = 0.33
# The regressor's head is new, its backbone is the genre CNN's; all of it is trained, or with --freeze the head alone.


def main(argv=None):
    parser = step_parser(__doc__, epochs=EPOCHS, lr=LEARNING_RATE, overfit=False, pretrained=True)
    axes = {"choices": ("valence", "energy", "danceability"), "default": [AXIS], "metavar": "AXIS"}
    parser.add_argument("--axis", nargs="+", **axes, help=f"valence, energy, danceability (default: {AXIS})")
    pretrain = {"type": int, "default": PRETRAIN_EPOCHS, "metavar": "N"}
    parser.add_argument(
        "--pretrain-epochs", **pretrain, help="epochs on the genres, if it trains there (default: %(default)s)"
    )
    parser.add_argument("--freeze", action="store_true", help="train the new head only")
    args = parser.parse_args(argv)
    if args.pretrained == "":
        parser.error("--pretrained: the name of a file was expected, not an empty text")
    if args.pretrain_epochs < 1:
        parser.error(f"--pretrain-epochs: a whole number from 1 on was expected, not {args.pretrain_epochs}")
    args.pretrain_epochs = args.epochs if args.quick else args.pretrain_epochs
    args.axis = list(dict.fromkeys(args.axis))
    join_processes(args)
    data = find_data(args.data, demo=demo_folder)
    rows_by_seed = [one_seed(args, data, seed) for seed in args.seeds]
    if args.mode == "full":
        compare_step9(args.out, data, args.seeds, args.axis, args.freeze)
    return print_results(STEP, data, args.mode, args.seeds, rows_by_seed)


def one_seed(args, data, seed):
    pretrained, rows = pretrain(args, data, seed), []
    for axis in args.axis:
        transfer = fine_tune(args, data, seed, axis, "transfer", pretrained)
        scratch = fine_tune(args, data, seed, axis, "scratch")
        print(f"from scratch, in as many epochs: {scratch['spearman']}")
        rows.append(
            {"axis": axis, "spearman": transfer["spearman"], "scratch": scratch["spearman"], "seen": transfer["seen"]}
        )
    return rows


def pretrain(args, data, seed):
    """Step 9c: the genre CNN of step 7, or a checkpoint of it. Returns (weights of its backbone, metadata[, folder]).

    metadata: with train_ids, of the clips it was trained and validated with. No clip whose id validates or tests an
    emotion is one. folder: of the genres, where they were read.
    """
    if args.pretrained:
        return read_backbone(args.pretrained, CNNBackbone(MEL_BANDS, CHANNELS, KERNEL_SIZE), ARCHITECTURE)
    title = "Step 9c: the CNN of step 7 on the genres, to be transferred"
    with start_run(args, STEP, title, data, seed, "genres", folders=[data.genres(), data.emotions()]) as run:
        # Data
        _, *held_out = emotion_loaders(data.emotions(), "mel", AXIS, args.batch_size, seed, **args.reading)
        left_out = [loader.dataset for loader in held_out]
        options = args.batch_size, VAL_SIZE, seed, left_out
        loaders = genre_loaders(data.genres(), data.class_mapping, "mel", *options, **args.reading)
        train_loader, val_loader, test_loader = loaders
        splits = train_loader.dataset, val_loader.dataset, test_loader.dataset
        classes = test_loader.dataset.label_transformer.classes_

        # Model
        torch.manual_seed(seed)
        model = Classifier(CNNBackbone(MEL_BANDS, CHANNELS, KERNEL_SIZE), len(classes)).to(args.device)
        model = accelerate(model, args.device)
        loss_function = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
        references = describe_genres(run, model, splits, classes)
        run.metadata |= {"architecture": ARCHITECTURE, "start": "genres"}

        # Training
        best, history = BestEpoch(model), []
        train_loader, loss_function = share_out(model, train_loader, loss_function)
        epochs = range(args.pretrain_epochs)
        epochs = resumable(epochs, run, model, optimizer, train_loader, best, history)
        for epoch in tqdm(epochs, "epochs", unit="epoch", disable=None):
            train_loss = train_epoch(model, train_loader, loss_function, optimizer, args.device)
            val = evaluate(model, val_loader, loss_function, args.device)
            val_acc = (val.outputs.argmax(dim=1) == val.targets).double().mean().item()
            print(f"epoch : {epoch} ,training loss = {train_loss}")
            print(f"Accuracy in validation set = {100 * val_acc} %")
            history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val.loss, "val_acc": val_acc})
            watch_training(history, val, references)
            if best.update(epoch, (val_acc, -val.loss), model):
                run.save_best(best)
        best.restore(model)

        # Test once, with the best epoch's weights
        test = evaluate(model, test_loader, loss_function, args.device)
        report_training(run, "CNN on genres", history, best, "cross entropy", references)
        metrics = report_genres(run, "CNN to be transferred", splits, test, matrix=True)
        print_expected(run, splits, metrics)
        run.finish({"test_acc": metrics["accuracy"], "test_f1_macro": metrics["macro"]["f1"]}, metrics, history)
        return model.backbone.state_dict(), run.metadata, data.genres()


def fine_tune(args, data, seed, axis, start, pretrained=None):
    """Step 9d: the CNN regressor of step 8 on one axis, its backbone as pretrain returned it, or from scratch."""
    title, variant = f"Step 9d: CNN on mel, {axis}, {start}", [axis, start, *["frozen"] * args.freeze]
    weights, trained, *genres = pretrained or (None, None)
    with start_run(args, STEP, title, data, seed, *variant, folders=[data.emotions(), *genres]) as run:
        # Data: the three splits of step 8
        loaders = emotion_loaders(data.emotions(), "mel", axis, args.batch_size, seed, **args.reading)
        train_loader, val_loader, test_loader = loaders
        splits = train_loader.dataset, val_loader.dataset, test_loader.dataset

        # Model
        torch.manual_seed(seed)
        model = Regressor(CNNBackbone(MEL_BANDS, CHANNELS, KERNEL_SIZE)).to(args.device)
        model = accelerate(model, args.device)
        if pretrained:
            model.backbone.load_state_dict(weights)
        if args.freeze:
            model.backbone.requires_grad_(False)
        loss_function = nn.MSELoss()
        optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=args.lr)
        references = describe_transfer(run, model, splits, [axis], trained)
        run.metadata |= {
            "architecture": [*ARCHITECTURE, "regressor"],
            "axis": axis,
            "start": start,
            "freeze": args.freeze,
        }

        # Training
        best, history = BestEpoch(model), []
        train_loader, loss_function = share_out(model, train_loader, loss_function)
        epochs = range(args.epochs)
        epochs = resumable(epochs, run, model, optimizer, train_loader, best, history)
        for epoch in tqdm(epochs, "epochs", unit="epoch", disable=None):
            train_loss = train_epoch(model, train_loader, loss_function, optimizer, args.device)
            val = evaluate(model, val_loader, loss_function, args.device)
            print(f"epoch : {epoch} ,training loss = {train_loss}")
            print(f"epoch : {epoch} ,validation loss = {val.loss}")
            history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val.loss})
            watch_training(history, val, references)
            if best.update(epoch, -val.loss, model):
                run.save_best(best)
        best.restore(model)

        # Test once, with the best epoch's weights
        test = evaluate(model, test_loader, loss_function, args.device)
        report_training(run, f"{axis}, {start}", history, best, "squared error", references)
        metrics = report_axes(run, f"CNN, {start}", splits, test, baselines=args.baselines)
        print_expected(run, splits, metrics)
        result = {"spearman": metrics[axis]["spearman"], **({"seen": run.metadata["shared_ids"]} if pretrained else {})}
        return run.finish(result, metrics[axis], history)


if __name__ == "__main__":
    run_script(main)

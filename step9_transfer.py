"""Step 9: does a CNN that has learnt genres first predict an emotion better than the same CNN from scratch?

    python step9_transfer.py
    python step9_transfer.py --pretrained runs/step7_cnn/mel_seed0/best.pt
    python step9_transfer.py --axis valence energy danceability --freeze

Trains the genre CNN of step 7 first, without the clips that it will validate and test with, or takes a checkpoint of step 7.
Writes runs/step9_transfer/<variant>/: genres_* for that training, <axis>_transfer_* and <axis>_scratch_* for the two regressors.
"""

import torch
from torch import nn

from common.checkpoints import Pretrained, checkpoint_fact, copy_backbone, read_backbone
from common.cli import each_seed, parse_arguments, place, reading_options, run_script, step_parser, variant_name, whole
from common.dataset import (
    SpectrogramDataset,
    clip_ids,
    clip_labels,
    emotion_slices,
    genre_sides,
    make_loader,
    torch_train_val_split,
    without,
)
from common.findings import say_step9
from common.labels import AXES
from common.locations import find_data
from common.metrics import accuracy, confusion_text, prior_losses
from common.models import Classifier, CNNBackbone, Regressor
from common.progress import progress
from common.report import (
    axis_results,
    axis_rows,
    load_given,
    print_axis_facts,
    print_genre_facts,
    print_header,
    print_references,
    report_axis,
    report_baselines,
    report_genres,
    report_training,
)
from common.resume import resumable
from common.run import open_run, print_results
from common.training import BestEpoch, evaluate, overfit_batch, train_epoch
from common.verdicts import watch_training
from extras.demo.folder import demo_folder
from extras.speed.accelerate import accelerate
from extras.speed.processes import join_processes, share_out

STEP = "step9_transfer"

# The write-up takes the CNN of step 7, its best epoch on the genres, and fine-tunes it on valence in 10 epochs.
ARCHITECTURE = ["cnn", "mel", [16, 32, 64, 128], 3]  # step 7's: its checkpoints fit
PRETRAIN_EPOCHS = 25
EPOCHS = 10
LEARNING_RATE = 1e-3  # as in steps 7 and 8, for genres, fine-tuning and scratch alike
VAL_SIZE = 0.33
# The regressor's head is new, everything below it comes from the genre CNN; all of it is trained on, or with --freeze the head alone.


def main(argv=None):
    parser = step_parser(__doc__, epochs=EPOCHS, lr=LEARNING_RATE)
    parser.add_argument("--axis", nargs="+", choices=AXES, default=["valence"], help="which axes (default: valence, the write-up's)")
    parser.add_argument("--pretrain-epochs", type=whole(1), default=PRETRAIN_EPOCHS, help="epochs on the genres (default: %(default)s)")
    parser.add_argument("--pretrained", type=place, metavar="FILE", help="a checkpoint of step7_cnn.py instead of that training")
    parser.add_argument("--freeze", action="store_true", help="train the new head alone")
    args = parse_arguments(parser, argv)
    if args.checkpoint and args.pretrained:
        parser.error("--checkpoint scores what is trained already: no --pretrained was expected beside it")
    if args.checkpoint:
        args.axis = [checkpoint_fact(args.checkpoint, "axis", AXES)]
        args.freeze = checkpoint_fact(args.checkpoint, "freeze", (True, False))
    args.pretrain_epochs = args.epochs if args.quick else args.pretrain_epochs
    join_processes(args)
    data = find_data(args.data, demo=demo_folder)
    by_seed = [one_seed(each, data) for each in each_seed(args)]
    if args.mode == "full":
        say_step9(args, data)
    return print_results(STEP, args, data, by_seed)


def one_seed(args, data):
    labelled = SpectrogramDataset(data.emotions(), features="mel", axis=AXES, **reading_options(args))
    held_back = [ident for loader in emotion_slices(labelled, args.batch_size, seed=args.seed)[1:] for ident in clip_ids(loader.dataset)]
    starts = {"scratch": None}
    if args.checkpoint:
        starts = {checkpoint_fact(args.checkpoint, "start", ("transfer", "scratch")): None}
    if args.pretrained:
        starts["transfer"] = read_backbone(args.pretrained, ARCHITECTURE)
    elif args.mode in ("full", "quick"):
        with open_run(args, STEP, variant_name(args, "genres"), data) as run:
            starts["transfer"] = pretrain(args, data, run, held_back)
    rows = []
    for axis in dict.fromkeys(args.axis):
        found = {}
        for start, given in reversed(starts.items()):
            with open_run(args, STEP, variant_name(args, axis, start, *["frozen"] * args.freeze), data) as run:
                found[start] = fine_tune(args, data, run, axis, start, given)
        rows += axis_results({axis: found.get("transfer") or found["scratch"]}, {})
        if len(found) == 2 and args.mode != "overfit":
            rows[-1] |= {"scratch": found["scratch"]["spearman"], "seen": rows[-1].pop("seen")}
            print(f"from scratch, in as many epochs: {found['scratch']['spearman']}")
    return rows


def pretrain(args, data, run, held_back):
    """Step 9c: the genre CNN of step 7, with its log, its matrix and its best epoch; it sees no clip of an id in `held_back`."""
    print_header("Step 9c: the CNN of step 7 on the genres, to be transferred", data, args, run)
    train_side, test_set = genre_sides(data.genres(), data.class_mapping, "mel", **reading_options(args))
    classes = train_side.label_transformer.classes_
    kept = without(train_side, held_back)
    print(f"left out   : {len(train_side) - len(kept)} training clips whose ids validate or test the emotions below")
    train_loader, val_loader = torch_train_val_split(kept, args.batch_size, args.batch_size, VAL_SIZE, seed=args.seed)
    torch.manual_seed(args.seed)
    model = Classifier(CNNBackbone(train_side.feat_dim, *ARCHITECTURE[2:]), len(classes)).to(args.device)
    model = accelerate(model, args.device)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    print_genre_facts(classes, train_loader.dataset, val_loader.dataset, test_set, model)
    references = print_references(prior_losses(clip_labels(train_loader.dataset), len(classes)), "cross-entropy")
    run.facts |= {"architecture": ARCHITECTURE, "classes": classes, "seen": clip_ids(kept), "start": "genres"}

    best, history = BestEpoch(model), []
    train_loader, loss_function = share_out(model, train_loader, loss_function)
    epochs = range(args.pretrain_epochs)
    epochs = resumable(epochs, run, model, optimizer, train_loader, best, history)
    for epoch in progress(epochs, "epochs", "epoch"):
        train_loss = train_epoch(model, train_loader, loss_function, optimizer, args.device)
        val = evaluate(model, val_loader, loss_function, args.device)
        val_acc = accuracy(val.outputs, val.targets)
        print(f"epoch : {epoch} ,training loss = {train_loss}")
        print(f"Accuracy in validation set = {100 * val_acc} %")
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val.loss, "val_acc": val_acc})
        watch_training(history, val, references)
        if best.update(epoch, (val_acc, -val.loss), model):
            run.save_best(best)
    best.restore(model)

    test = evaluate(model, make_loader(test_set, args.batch_size), loss_function, args.device)
    report_training(run, "CNN on genres", history, best, "cross entropy", references)
    metrics = report_genres(run, "CNN to be transferred", classes, test_set, test)
    print(f"\n{confusion_text(metrics)}")
    run.finish({"test_acc": metrics["accuracy"], "test_f1_macro": metrics["macro"]["f1"]}, metrics, history)
    return Pretrained(best.weights, run.facts["seen"])


def fine_tune(args, data, run, axis, start, pretrained):
    """Steps 9d: the regressor on one axis, its backbone from `pretrained` or, where that is None, from scratch. Otherwise as in step 8."""
    print_header(f"Step 9d: CNN on mel, {axis}, {start}", data, args, run)
    labelled = SpectrogramDataset(data.emotions(), features="mel", axis=axis, **reading_options(args))
    train_loader, val_loader, test_loader = emotion_slices(labelled, args.batch_size, seed=args.seed)
    torch.manual_seed(args.seed)
    model = Regressor(CNNBackbone(labelled.feat_dim, *ARCHITECTURE[2:])).to(args.device)
    model = accelerate(model, args.device)
    seen = {}
    if pretrained:
        copy_backbone(pretrained, model)
        seen["seen"] = len({*clip_ids(val_loader.dataset), *clip_ids(test_loader.dataset)} & set(pretrained.seen))
        print(f"clips that validate or test here and whose ids the genre CNN has seen: {seen['seen']}")
    if args.freeze:
        model.backbone.requires_grad_(False)
    loss_function = nn.MSELoss()
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=args.lr)
    references = print_axis_facts(train_loader.dataset, val_loader.dataset, test_loader.dataset, [axis], model)
    if args.overfit_batch:
        return run.finish(overfit_batch(model, train_loader, loss_function, optimizer, args.device))
    run.facts |= {"architecture": [*ARCHITECTURE, "regressor"], "classes": [axis], "axis": axis, "start": start, "freeze": args.freeze}
    run.facts["seen"] = clip_ids(train_loader.dataset) + clip_ids(val_loader.dataset) + (pretrained.seen if pretrained else [])
    if args.checkpoint:
        load_given(args.checkpoint, model, run, test_loader.dataset)

    best, history = BestEpoch(model), []
    train_loader, loss_function = share_out(model, train_loader, loss_function)
    epochs = range(args.epochs)
    epochs = resumable(epochs, run, model, optimizer, train_loader, best, history)
    for epoch in progress(epochs, "epochs", "epoch"):
        train_loss = train_epoch(model, train_loader, loss_function, optimizer, args.device)
        val = evaluate(model, val_loader, loss_function, args.device)
        print(f"epoch : {epoch} ,training loss = {train_loss}")
        print(f"epoch : {epoch} ,validation loss = {val.loss}")
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val.loss})
        watch_training(history, val, references)
        if best.update(epoch, -val.loss, model):
            run.save_best(best)
    best.restore(model)

    test = evaluate(model, test_loader, loss_function, args.device)
    report_training(run, f"{axis}, {start}", history, best, "squared error", references)
    metrics = report_axis(run, f"CNN, {axis}, {start}", axis, None, test, train_loader.dataset)
    known = without(labelled, clip_ids(test_loader.dataset))
    metrics["baselines"] = report_baselines(args, run, data.emotions(), known, test_loader.dataset, metrics["spearman"], axis)
    run.save_predictions(axis_rows("test", [axis], test_loader.dataset, test))
    return run.finish({"spearman": metrics["spearman"], **seen}, metrics, history)


if __name__ == "__main__":
    run_script(main)

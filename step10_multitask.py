"""Step 10 (the write-up's second half of step 9): one CNN for valence, energy and danceability at once; what does sharing change?

    python step10_multitask.py
    python step10_multitask.py --weights 0.4 0.2 0.2
    python step10_multitask.py --ensemble 5 --submit solution.txt
    python step10_multitask.py --recipe tuned --submit solution.txt

Needs no earlier step; compares itself with step 8's single-axis CNNs where --out holds them. --submit predicts the unlabelled test side.
Writes runs/step10_multitask/<variant>/: log, figures, predictions, metrics and the best epoch's checkpoint of each member.
"""

from functools import partial

import torch

from common.cli import each_seed, fraction, parse_arguments, place, reading_options, run_script, step_parser, variant_name, whole
from common.dataset import SpectrogramDataset, clip_ids, emotion_slices, make_loader, without
from common.findings import say_step10
from common.labels import AXES
from common.locations import find_data
from common.metrics import axis_losses
from common.models import CNNBackbone, MultitaskRegressor
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
from common.submission import HANDOUT_HEADER, HANDOUT_SUFFIX, check_place, write_submission
from common.training import BestEpoch, Evaluation, evaluate, overfit_batch, train_epoch
from common.verdicts import watch_training
from extras.demo.folder import demo_folder
from extras.speed.accelerate import accelerate
from extras.speed.processes import join_processes, share_out
from extras.tuned.train import tuned_multitask

STEP = "step10_multitask"

# The write-up trains the CNN on the weighted sum of three squared errors, weights 0.33 each, and prints every fifth epoch up to 30.
FEATURES = "mel"
WEIGHTS = (0.33, 0.33, 0.33)
EPOCHS = 31
LOG_EVERY = 5
LEARNING_RATE = 1e-3  # left open by the write-up; as in steps 7 to 9, like the network and the three slices


def main(argv=None):
    parser = step_parser(__doc__, epochs=EPOCHS, lr=LEARNING_RATE, tuned="multitask")
    parser.add_argument("--weights", type=fraction, nargs=3, default=WEIGHTS, metavar=("V", "E", "D"), help="of the losses (default: .33)")
    parser.add_argument("--ensemble", type=whole(1), default=1, metavar="N", help="average N initialisations and batch orders")
    parser.add_argument("--submit", type=place, metavar="FILE", help="write the competition's file for the unlabelled test side")
    parser.add_argument("--submit-header", default=HANDOUT_HEADER, metavar="TEXT", help="its first column's name (default: %(default)s)")
    parser.add_argument("--submit-suffix", default=HANDOUT_SUFFIX, metavar="TEXT", help="what follows an id in it (default: %(default)s)")
    parser.add_argument("--members", choices=("all", "network"), default="all", help="who predicts for --submit by the tuned recipe")
    args = parse_arguments(parser, argv)
    if not any(args.weights):
        parser.error("--weights: at least one above 0 was expected")
    if args.checkpoint and args.ensemble > 1:
        parser.error("--checkpoint scores one network: no --ensemble was expected beside it")
    if args.recipe == "tuned" and args.ensemble > 1:
        parser.error("--ensemble is of the write-up's recipe: --change networks=N was expected beside --recipe tuned")
    if args.submit and args.seeds > 1:
        parser.error("--submit writes one file: --ensemble was expected in place of --seeds")
    if args.submit and args.mode in ("quick", "overfit"):
        parser.error("--submit predicts every clip of the test side by a trained network: no dry run was expected beside it")
    if args.submit:
        check_place(args.submit, args.submit_header, args.submit_suffix)
    join_processes(args)
    data = find_data(args.data, demo=demo_folder)
    by_seed = [one_seed(each, data) for each in each_seed(args)]
    if args.mode == "full" and args.recipe != "tuned":  # step 8 has no tuned networks to compare with
        say_step10(args, data)
    return print_results(STEP, args, data, by_seed)


def one_seed(args, data):
    name = [f"ensemble{args.ensemble}"] * (args.ensemble > 1)
    weights = ["weights" + "-".join(f"{weight:g}" for weight in args.weights)] * (tuple(args.weights) != WEIGHTS)
    with open_run(args, STEP, variant_name(args, "cnn", *weights, *name), data) as run:
        if args.recipe == "tuned":
            return tuned_multitask(args, data, run)
        return axis_results(train_and_test(args, data, run), {})


def train_and_test(args, data, run):
    print_header("Step 10: one CNN on mel spectrograms for three axes", data, args, run)

    # Data: the same three slices as in steps 8 and 9, and the side without labels
    reading = reading_options(args)
    labelled = SpectrogramDataset(data.emotions(), features=FEATURES, axis=AXES, **reading)
    train_loader, val_loader, test_loader = emotion_slices(labelled, args.batch_size, seed=args.seed)
    if args.submit:
        hidden = SpectrogramDataset(data.emotions(), None, False, labelled.max_length, FEATURES, axis=AXES, **reading)

    # Members: each with its own initial weights and batch order, on the same slices
    loss_function = partial(axis_losses, weights=args.weights)
    run.facts |= {"architecture": ["cnn", FEATURES, "multitask"], "classes": list(AXES)}
    run.facts |= {"weights": list(args.weights), "ensemble": args.ensemble}
    run.facts["seen"] = clip_ids(train_loader.dataset) + clip_ids(val_loader.dataset)
    tests, predicted = [], []
    for member in range(args.ensemble):
        torch.manual_seed(args.seed + 1000 * member)
        train_loader.batch_sampler.seed, train_loader.batch_sampler.epoch = args.seed + 1000 * member, 0
        model = MultitaskRegressor(CNNBackbone(labelled.feat_dim), len(AXES)).to(args.device)
        model = accelerate(model, args.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
        references = print_axis_facts(train_loader.dataset, val_loader.dataset, test_loader.dataset, AXES, model)
        constant = {"training means": sum(weight * error for weight, error in zip(args.weights, references.values(), strict=True))}
        if args.overfit_batch:
            return {"all": run.finish(overfit_batch(model, train_loader, loss_function, optimizer, args.device))}
        if args.checkpoint:
            load_given(args.checkpoint, model, run, test_loader.dataset)

        # Training
        best, history = BestEpoch(model), []
        train_loader, loss_function = share_out(model, train_loader, loss_function)
        epochs = range(args.epochs)
        epochs = resumable(epochs, run, model, optimizer, train_loader, best, history, name=f"-{member}" * (args.ensemble > 1))
        for epoch in progress(epochs, "epochs", "epoch"):
            train_losses = train_epoch(model, train_loader, loss_function, optimizer, args.device)
            val = evaluate(model, val_loader, loss_function, args.device)
            if epoch % LOG_EVERY == 0:
                print_losses(epoch, train_losses, val.loss)
            history.append({"epoch": epoch, "train_loss": train_losses[0], "val_loss": val.loss[0]})
            watch_training(history, val, constant)
            if best.update(epoch, -val.loss[0], model):
                run.save_best(best, f"best-{member}" if args.ensemble > 1 else "best")
        best.restore(model)
        title = "multitask CNN" + f", member {member}" * (args.ensemble > 1)
        report_training(run, title, history, best, "weighted squared error", constant)
        tests.append(evaluate(model, test_loader, loss_function, args.device))
        if args.submit:
            predicted.append(evaluate(model, make_loader(hidden, args.batch_size), loss_function, args.device).outputs)

    # Test, once, with the members' mean
    test = Evaluation(tests[0].loss, torch.stack([each.outputs for each in tests]).mean(dim=0), tests[0].targets)
    metrics = {}
    known = without(labelled, clip_ids(test_loader.dataset))
    for number, axis in enumerate(AXES):
        metrics[axis] = report_axis(run, f"multitask CNN, {axis}", axis, number, test, train_loader.dataset)
        rho = metrics[axis]["spearman"]
        metrics[axis]["baselines"] = report_baselines(args, run, data.emotions(), known, test_loader.dataset, rho, axis, number)
    run.save_predictions(axis_rows("test", AXES, test_loader.dataset, test))
    result = {axis: {"spearman": metrics[axis]["spearman"]} for axis in AXES}
    run.finish(result, metrics, history)
    if args.submit:
        values = torch.stack(predicted).mean(dim=0).tolist()
        write_submission(args.submit, hidden.ids, values, args.submit_header, args.submit_suffix)
        print(f"submission : {args.submit}, {len(values)} clips of the unlabelled test side")
    return result


def print_losses(epoch, training, validation):
    """The write-up's block; training and validation are [weighted sum, valence, energy, danceability]."""
    print(f"Epoch: {epoch}")
    for name, losses in (("Training", training), ("Validation", validation)):
        print(name)
        print(", ".join(f"{axis}_loss: {loss}" for axis, loss in zip(AXES, losses[1:], strict=True)))
        print(f"Total {name.lower()} loss = {losses[0]}")


if __name__ == "__main__":
    run_script(main)

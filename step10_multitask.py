"""Step 10 (in the write-up, the second half of step 9): what changes when one CNN predicts all three axes?

    python step10_multitask.py
    python step10_multitask.py --weights 0.4 0.2 0.2
    python step10_multitask.py --ensemble 5 --submit solution.txt

The write-up is the report of 2020-21 that this repository makes reproducible. Needs no earlier step; compares itself
with step 8's single-axis CNNs, if --out has them. --submit predicts the unlabelled test split. About 3 minutes on the
demo music with 2 CPU cores. Writes runs/step10_multitask/<variant>/: log, pictures, predictions, metrics and a best.pt
for each network of the ensemble.
"""

from functools import partial

import torch
from tqdm import tqdm

from common.checks import overfit_batch, watch_training
from common.cli import run_script, start_run, step_parser
from common.comparison import compare_step10
from common.dataset import SpectrogramDataset, emotion_slices, make_loader
from common.locations import find_data
from common.models import CNNBackbone, MultitaskRegressor
from common.report import describe_axes, print_results, report_axes, report_training, with_means_of_axes
from common.resume import resumable
from common.submission import write_submission
from common.training import BestEpoch, evaluate, train_epoch
from extras.demo.folder import demo_folder
from extras.speed.accelerate import accelerate
from extras.speed.processes import join_processes, share_out
from extras.writeup.expected import print_expected

STEP = "step10_multitask"

# The write-up trains the CNN on the weighted sum of three squared errors, weights 0.33 each, and prints every fifth
# epoch up to 30.
FEATURES = "mel"
WEIGHTS = {"valence": 0.33, "energy": 0.33, "danceability": 0.33}
EPOCHS = 31
LOG_EVERY = 5
SMALLEST = 1e-4  # weight of a loss besides 0: far smaller or larger ones have no effect in Adam's float32
LEARNING_RATE = 1e-3  # left open by the write-up; as in steps 7 to 9, like the network and the three splits


def main(argv=None):
    parser = step_parser(__doc__, epochs=EPOCHS, lr=LEARNING_RATE, submit=True)
    names = [axis[0].upper() for axis in WEIGHTS]
    weights = {"type": float, "nargs": 3, "default": [*WEIGHTS.values()], "metavar": tuple(names)}
    parser.add_argument("--weights", **weights, help="weights of the losses (default: .33 each)")
    ensemble = {"type": int, "default": 1, "metavar": "N"}
    parser.add_argument("--ensemble", **ensemble, help="average N networks with other initial weights and batch orders")
    args = parser.parse_args(argv)
    if not all(weight == 0 or SMALLEST <= weight <= 1 / SMALLEST for weight in args.weights) or not any(args.weights):
        bounds = f"three numbers, each 0 or within {SMALLEST:g}..{1 / SMALLEST:g}, one of them above 0, were expected"
        parser.error(f"--weights: {bounds}, not {args.weights}")
    if args.ensemble < 1:
        parser.error(f"--ensemble: a whole number from 1 on was expected, not {args.ensemble}")
    join_processes(args)
    data = find_data(args.data, demo=demo_folder)
    rows_by_seed = [with_means_of_axes(train_and_test(args, data, seed)) for seed in args.seeds]
    if args.mode == "full":
        compare_step10(args.out, data, args.seeds, args.weights, args.ensemble)
    return print_results(STEP, data, args.mode, args.seeds, rows_by_seed)


def axis_losses(outputs, targets, weights):
    """Values (B, 3), targets (B, 3), weights (3,) -> (4,): the weighted sum of the axes' MSEs, then each of them."""
    parts = ((outputs - targets) ** 2).mean(dim=0)
    return torch.cat([(parts * parts.new_tensor(weights)).sum()[None], parts])


def train_and_test(args, data, seed):
    members = [f"ensemble{args.ensemble}"] * (args.ensemble > 1)
    weights = ["weights" + "-".join(f"{weight:g}" for weight in args.weights)] * (args.weights != [*WEIGHTS.values()])
    title = "Step 10: one CNN on mel spectrograms for three axes"
    with start_run(args, STEP, title, data, seed, "cnn", *weights, *members, folders=[data.emotions()]) as run:
        # Data: the same three splits as in steps 8 and 9
        labelled = SpectrogramDataset(data.emotions(), features=FEATURES, axis=tuple(WEIGHTS), **args.reading)
        train_loader, val_loader, test_loader = emotion_slices(labelled, args.batch_size, seed=seed)
        splits = train_loader.dataset, val_loader.dataset, test_loader.dataset
        if args.submit:  # the unlabelled test split
            predicted, options = [], {"axis": tuple(WEIGHTS), **args.reading}
            hidden = SpectrogramDataset(data.emotions(), None, False, labelled.max_length, FEATURES, **options)

        # Networks of the ensemble: each with its own initial weights and batch order, on the same splits
        loss_function = partial(axis_losses, weights=args.weights)
        run.metadata |= {"architecture": ["cnn", FEATURES, "multitask"]}
        run.metadata |= {"weights": args.weights, "ensemble": args.ensemble}
        tests = []
        for member in range(args.ensemble):
            number = f"-{member}" * (args.ensemble > 1)
            torch.manual_seed(seed + 1000 * member)
            train_loader.batch_sampler.seed, train_loader.batch_sampler.epoch = seed + 1000 * member, 0
            model = MultitaskRegressor(CNNBackbone(labelled.feat_dim), len(WEIGHTS)).to(args.device)
            model = accelerate(model, args.device)
            optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
            references = describe_axes(run, model, splits, tuple(WEIGHTS))
            errors = zip(args.weights, references.values(), strict=True)
            constant = {"training means": sum(weight * error for weight, error in errors)}
            if args.overfit_batch:
                found = run.finish(overfit_batch(model, train_loader, loss_function, optimizer, args.device))
                return [{"axis": "all", **found}]

            # Training
            best, history = BestEpoch(model), []
            train_loader, loss_function = share_out(model, train_loader, loss_function)
            epochs = range(args.epochs)
            epochs = resumable(epochs, run, model, optimizer, train_loader, best, history, name=number)
            for epoch in tqdm(epochs, "epochs", unit="epoch", disable=None):
                train_losses = train_epoch(model, train_loader, loss_function, optimizer, args.device)
                val = evaluate(model, val_loader, loss_function, args.device)
                if epoch % LOG_EVERY == 0:
                    print_losses(epoch, train_losses, val.loss)
                history.append({"epoch": epoch, "train_loss": train_losses[0], "val_loss": val.loss[0]})
                watch_training(history, val, constant)
                if best.update(epoch, -val.loss[0], model):
                    run.save_best(best, f"best{number}")
            best.restore(model)
            title = "multitask CNN" + f", network {member} of the ensemble" * (args.ensemble > 1)
            report_training(run, title, history, best, "weighted squared error", constant)
            tests.append(evaluate(model, test_loader, loss_function, args.device))
            if args.submit:
                loader = make_loader(hidden, args.batch_size)
                predicted.append(evaluate(model, loader, loss_function, args.device).outputs)

        # Test once, with the ensemble's mean
        test = tests[0]._replace(outputs=torch.stack([each.outputs for each in tests]).mean(dim=0))
        metrics = report_axes(run, "multitask CNN", splits, test, baselines=args.baselines)
        print_expected(run, splits, metrics)
        run.finish({axis: {"spearman": metrics[axis]["spearman"]} for axis in WEIGHTS}, metrics, history)
        if args.submit:
            values = torch.stack(predicted).mean(dim=0).tolist()
            write_submission(args.submit, hidden.ids, values, args.submit_header, args.submit_suffix)
            print(f"submission : {args.submit}, {len(values)} clips of the unlabelled test split")
        return [{"axis": axis, "spearman": metrics[axis]["spearman"]} for axis in WEIGHTS]


def print_losses(epoch, training, validation):
    """The write-up's lines; training and validation are [weighted sum, valence, energy, danceability]."""
    print(f"Epoch: {epoch}")
    for name, losses in (("Training", training), ("Validation", validation)):
        print(name)
        print(", ".join(f"{axis}_loss: {loss}" for axis, loss in zip(WEIGHTS, losses[1:], strict=True)))
        print(f"Total {name.lower()} loss = {losses[0]}")


if __name__ == "__main__":
    run_script(main)

"""Step 7b: how well does a convolutional network of four stages recognise the genre from mel spectrograms seen as images?

    python step7_cnn.py --epochs 25
    python step7_cnn.py --data DIR --seed 1
    python step7_cnn.py --recipe tuned
    python step7_cnn.py --checkpoint runs/step7_cnn/mel_seed0/best.pt --epochs 0

Needs no earlier step; compares itself with the best LSTM of step 5 where runs/ holds one of the same data.
Writes runs/step7_cnn/<variant>/: log, figures, predictions, metrics and the best epoch's checkpoint. Minutes: see README.
"""

import torch
from torch import nn

from common.cli import each_seed, parse_arguments, reading_options, run_script, step_parser, variant_name
from common.dataset import clip_ids, clip_labels, genre_sides, make_loader, torch_train_val_split
from common.findings import say_step7
from common.locations import find_data
from common.metrics import accuracy, confusion_text, prior_losses
from common.models import Classifier, CNNBackbone
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
from common.writeup import STEP7_CNN
from extras.demo.folder import demo_folder
from extras.speed.accelerate import accelerate
from extras.speed.processes import join_processes, share_out
from extras.tuned.train import tuned_genres

STEP = "step7_cnn"

# The write-up fixes the input, four stages of convolution, batch norm, ReLU and max pooling, 25 epochs, and a third for validation.
FEATURES = "mel"
EPOCHS = 25
VAL_SIZE = 0.33
# It leaves the rest open. Chosen here, near what most solutions of the lab use:
CHANNELS = (16, 32, 64, 128)  # filters of the stages, doubled wherever pooling has halved the image
KERNEL_SIZE = 3  # the smallest filter that has a centre
LEARNING_RATE = 1e-3  # Adam's own default; no weight decay
# The last stage meets the classifier as each filter's mean over time in each of 8 frequency rows: 1024 numbers, however long the clip.
# Validation accuracy picks the epoch, the loss decides between equals. Input in dB as it is, padded with zeros.


def main(argv=None):
    args = parse_arguments(step_parser(__doc__, epochs=EPOCHS, lr=LEARNING_RATE, tuned="cnn"), argv)
    join_processes(args)
    data = find_data(args.data, demo=demo_folder)
    by_seed = [one_seed(each, data) for each in each_seed(args)]
    if args.mode in ("full", "score"):
        say_step7(args, data)
    return print_results(STEP, args, data, by_seed)


def one_seed(args, data):
    with open_run(args, STEP, variant_name(args, FEATURES), data) as run:
        return train_and_test(args, data, run)


def train_and_test(args, data, run):
    print_header("Step 7b: a CNN of four stages on mel spectrograms", data, args, run)

    # Data
    train_side, test_set = genre_sides(data.genres(), data.class_mapping, FEATURES, **reading_options(args))
    if args.recipe == "tuned":
        return tuned_genres(args, run, data.genres(), "tuned-cnn", FEATURES, FEATURES, train_side, test_set)
    train_loader, val_loader = torch_train_val_split(train_side, args.batch_size, args.batch_size, VAL_SIZE, seed=args.seed)
    test_loader = make_loader(test_set, args.batch_size)
    classes = train_side.label_transformer.classes_

    # Model
    print(f"chosen here: filters {CHANNELS} of {KERNEL_SIZE}x{KERNEL_SIZE}, mean over time in each frequency row, one linear layer, Adam")
    torch.manual_seed(args.seed)
    model = Classifier(CNNBackbone(train_side.feat_dim, CHANNELS, KERNEL_SIZE), len(classes)).to(args.device)
    model = accelerate(model, args.device)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    print_genre_facts(classes, train_loader.dataset, val_loader.dataset, test_set, model)
    references = print_references(prior_losses(clip_labels(train_loader.dataset), len(classes)), "cross-entropy")
    if args.overfit_batch:
        return [run.finish(overfit_batch(model, train_loader, loss_function, optimizer, args.device))]
    run.facts |= {"architecture": ["cnn", FEATURES, CHANNELS, KERNEL_SIZE], "classes": classes, "val_size": VAL_SIZE}
    run.facts["seen"] = clip_ids(train_side)  # the epoch is picked by validation, so its clips count as seen too
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
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val.loss, "val_acc": val_acc})
        watch_training(history, val, references)
        if best.update(epoch, (val_acc, -val.loss), model):
            run.save_best(best)
    best.restore(model)

    # Test, once, with the best epoch's weights
    test = evaluate(model, test_loader, loss_function, args.device)
    val = evaluate(model, val_loader, loss_function, args.device) if history else None
    report_training(run, "CNN", history, best, "cross entropy", references)
    metrics = report_genres(run, "CNN on mel spectrograms", classes, test_set, test, val_loader.dataset, val)
    print(f"\n{confusion_text(metrics)}")
    print(f"\nwrite-up: {STEP7_CNN['test_acc']:.4f}; {beside_writeup(data, args, len(test_set))}")
    metrics["baselines"] = report_baselines(args, run, data.genres(), train_side, test_set, metrics["accuracy"])
    return [run.finish({"test_acc": metrics["accuracy"], "test_f1_macro": metrics["macro"]["f1"]}, metrics, history)]


if __name__ == "__main__":
    run_script(main)

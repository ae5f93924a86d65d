"""Step 7b: how well does a CNN of four stages recognise the genre from mel spectrograms as images?

    python step7_cnn.py --epochs 25
    python step7_cnn.py --data DIR --seed 1

The CNN of the write-up, the report of 2020-21 that this repository makes reproducible. Needs no earlier step; compares
itself with the best LSTM of step 5 on the same data, if there is one in runs/. About 6 minutes on the demo music with 2
CPU cores. Writes runs/step7_cnn/<variant>/: log, pictures, predictions, metrics and the best epoch's checkpoint best.pt.
"""

import torch
from torch import nn
from tqdm import tqdm

from common.checks import overfit_batch, watch_training
from common.cli import run_script, start_run, step_parser
from common.comparison import compare_step7
from common.dataset import genre_splits, make_loader, torch_train_val_split
from common.locations import find_data
from common.models import Classifier, CNNBackbone
from common.report import describe_genres, print_results, report_genres, report_training
from common.resume import resumable
from common.training import BestEpoch, evaluate, train_epoch
from extras.demo.folder import demo_folder
from extras.speed.accelerate import accelerate
from extras.speed.processes import join_processes, share_out
from extras.writeup.expected import print_expected

STEP = "step7_cnn"

# The write-up fixes the input, four stages of convolution, batch norm, ReLU and max pooling, 25 epochs, and a third of
# the training clips for validation.
FEATURES = "mel"
EPOCHS = 25
VAL_SIZE = 0.33
# It leaves the rest open. Chosen here, close to most solutions of the lab:
CHANNELS = (16, 32, 64, 128)  # filters of the stages, doubled where pooling halves the image
KERNEL_SIZE = 3  # the smallest filter that has a centre
LEARNING_RATE = 1e-3  # Adam's own default; no weight decay
# The classifier gets the mean over time of each of the last stage's filters in each of 8 frequency bands: 1024 numbers,
# however long the clip. Validation accuracy picks the epoch; of equal accuracies, the lower loss. Input in dB without
# scaling, padded with zeros.


def main(argv=None):
    args = step_parser(__doc__, epochs=EPOCHS, lr=LEARNING_RATE).parse_args(argv)
    join_processes(args)
    data = find_data(args.data, demo=demo_folder)
    rows_by_seed = [[train_and_test(args, data, seed)] for seed in args.seeds]
    if args.mode == "full":
        compare_step7(args.out, data, args.seeds)
    return print_results(STEP, data, args.mode, args.seeds, rows_by_seed)


def train_and_test(args, data, seed):
    title = "Step 7b: a CNN of four stages on mel spectrograms"
    with start_run(args, STEP, title, data, seed, FEATURES, folders=[data.genres()]) as run:
        # Data
        train_set, test_set = genre_splits(data.genres(), data.class_mapping, FEATURES, **args.reading)
        batch_sizes = args.batch_size, args.batch_size
        train_loader, val_loader = torch_train_val_split(train_set, *batch_sizes, VAL_SIZE, seed=seed)
        test_loader = make_loader(test_set, args.batch_size)
        splits = train_loader.dataset, val_loader.dataset, test_set
        classes = train_set.label_transformer.classes_

        # Model
        filters = f"filters {CHANNELS} of {KERNEL_SIZE}x{KERNEL_SIZE}"
        print(f"chosen here: {filters}, mean over time in each frequency band, one linear layer, Adam")
        torch.manual_seed(seed)
        model = Classifier(CNNBackbone(train_set.feat_dim, CHANNELS, KERNEL_SIZE), len(classes)).to(args.device)
        model = accelerate(model, args.device)
        loss_function = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
        references = describe_genres(run, model, splits, classes)
        run.metadata |= {"architecture": ["cnn", FEATURES, CHANNELS, KERNEL_SIZE], "val_size": VAL_SIZE}
        if args.overfit_batch:
            return run.finish(overfit_batch(model, train_loader, loss_function, optimizer, args.device))

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
            history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val.loss, "val_acc": val_acc})
            watch_training(history, val, references)
            if best.update(epoch, (val_acc, -val.loss), model):
                run.save_best(best)
        best.restore(model)

        # Test once, with the best epoch's weights
        test = evaluate(model, test_loader, loss_function, args.device)
        val = evaluate(model, val_loader, loss_function, args.device)
        report_training(run, "CNN", history, best, "cross entropy", references)
        title = "CNN on mel spectrograms"
        metrics = report_genres(run, title, splits, test, val, matrix=True, baselines=args.baselines)
        print_expected(run, splits, metrics)
        return run.finish({"test_acc": metrics["accuracy"], "test_f1_macro": metrics["macro"]["f1"]}, metrics, history)


if __name__ == "__main__":
    run_script(main)

"""Step 7.2 of later years: how well does an audio spectrogram transformer recognise the genre from mel spectrograms?

    python step7_ast.py --epochs 25
    python step7_ast.py --data DIR --size base --init timm

The transformer of Gong, Chung and Glass (2021), which the assignment of 2024-25 asks for; the write-up of 2020-21 has
none. Small enough for a CPU by default and trained from scratch; --size base is the paper's, --init timm starts from
image weights. Needs no earlier step; compares itself with the CNN of step 7 on the same data, if there is one in runs/.
Writes runs/step7_ast/<variant>/: log, pictures, predictions, metrics and the best epoch's checkpoint best.pt.
"""

import torch
from torch import nn
from tqdm import tqdm

from common.checks import overfit_batch, watch_training
from common.cli import run_script, start_run, step_parser, whole
from common.comparison import compare_step7_ast
from common.dataset import genre_splits, make_loader, torch_train_val_split
from common.locations import find_data
from common.models import Classifier
from common.report import describe_genres, print_results, report_genres, report_training
from common.resume import resumable
from common.training import BestEpoch, evaluate, train_epoch
from common.transformer import SIZES, TransformerBackbone
from extras.demo.folder import demo_folder
from extras.image_weights import image_weights
from extras.speed.processes import join_processes, share_out

STEP = "step7_ast"

# As in the paper: mel spectrograms, patches of 16 x 16, 10 frames and bands from one to the next, Adam.
FEATURES = "mel"
STRIDE = 10
# As in step 7, so that both networks see the same clips as often:
EPOCHS = 25
VAL_SIZE = 0.33
# Chosen here. The paper's 1e-4 is for a network that starts from image weights.
LEARNING_RATE = 5e-4


def main(argv=None):
    parser = step_parser(__doc__, epochs=EPOCHS, lr=LEARNING_RATE)
    sizes = ", ".join(f"{name} ({width} wide, {layers} layers)" for name, (width, layers, _) in SIZES.items())
    parser.add_argument("--size", choices=SIZES, default="lab", help=f"{sizes}; the paper's is base (default: lab)")
    stride = "frames and mel bands from one patch to the next; 16 is without overlap (default: %(default)s)"
    parser.add_argument("--stride", type=whole(1, 16), default=STRIDE, metavar="N", help=stride)
    init = "start from ImageNet weights by timm, for --size tiny, small or base (needs requirements-ast.txt)"
    parser.add_argument("--init", choices=["timm"], help=init)
    args = parser.parse_args(argv)
    weights = image_weights(args.size) if args.init else None
    join_processes(args)
    data = find_data(args.data, demo=demo_folder)
    rows_by_seed = [[train_and_test(args, data, seed, weights)] for seed in args.seeds]
    if args.mode == "full":
        compare_step7_ast(args.out, data, args.seeds)
    return print_results(STEP, data, args.mode, args.seeds, rows_by_seed)


def train_and_test(args, data, seed, weights):
    title = "Step 7.2: an audio spectrogram transformer on mel spectrograms"
    choices = [args.size] * (args.size != "lab") + [f"stride{args.stride}"] * (args.stride != STRIDE)
    choices += [args.init] * bool(args.init)
    with start_run(args, STEP, title, data, seed, FEATURES, *choices, folders=[data.genres()]) as run:
        # Data
        train_set, test_set = genre_splits(data.genres(), data.class_mapping, FEATURES, **args.reading)
        batch_sizes = args.batch_size, args.batch_size
        train_loader, val_loader = torch_train_val_split(train_set, *batch_sizes, VAL_SIZE, seed=seed)
        test_loader = make_loader(test_set, args.batch_size)
        splits = train_loader.dataset, val_loader.dataset, test_set
        classes = train_set.label_transformer.classes_

        # Model
        torch.manual_seed(seed)
        backbone = TransformerBackbone(train_set.feat_dim, args.size, args.stride, train_set.max_length)
        if weights:
            backbone.load_image_weights(weights)
        model = Classifier(backbone, len(classes)).to(args.device)
        loss_function = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
        references = describe_genres(run, model, splits, classes)
        architecture = ["transformer", FEATURES, args.size, args.stride, train_set.max_length]
        run.metadata |= {"architecture": architecture, "val_size": VAL_SIZE, "init": args.init or "scratch"}
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
        report_training(run, "Transformer", history, best, "cross entropy", references)
        title = "Transformer on mel spectrograms"
        metrics = report_genres(run, title, splits, test, val, matrix=True, baselines=args.baselines)
        return run.finish({"test_acc": metrics["accuracy"], "test_f1_macro": metrics["macro"]["f1"]}, metrics, history)


if __name__ == "__main__":
    run_script(main)

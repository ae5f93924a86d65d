"""Step 7a: what happens inside a convolutional network, layer by layer: in ConvNetJS's digits network, then in step 7's
genre CNN?

    python step7a_look_inside.py
    python step7a_look_inside.py --data DIR --clip 1042
    python step7a_look_inside.py --mnist DIR --checkpoint runs/step7_cnn/mel_seed0/best.pt

Part 2 needs a run of step7_cnn.py on the same data in --out, or its checkpoint by --checkpoint; without one part 1
stands alone. Writes runs/step7a_look_inside/<digits or mnist>_seed<n>/: log, metrics and figures. About half a minute
on 2 CPU cores; uses no GPU.
"""

import torch

from common.cli import reading_options, run_script, start_run, step_parser, whole
from common.dataset import genre_splits
from common.errors import LabError, shown
from common.files import write_atomically
from common.labels import clip_id
from common.locations import find_data
from common.plots import png
from common.report import print_results, warn_of_overlap
from extras.demo.folder import demo_folder
from extras.inside.digits import CROP, held_out_tensors, mnist_digits, small_digits, train_digits
from extras.inside.measure import (
    Inside,
    first_right,
    layer_lines,
    layer_table,
    logits_of,
    look_inside,
    occlusion,
    occlusion_lines,
    table_lines,
)
from extras.inside.plots import filter_tiles, layers_figure, occlusion_figure, stages_figure, weights_figure
from extras.songs.networks import check_outputs, find_genre_cnn, load_network

STEP = "step7a_look_inside"

# Part 1, from ConvNetJS's MNIST demo: the network, and crops of 24x24 pixels at random places. It trains with Adadelta
# until stopped; here:
DIGIT_EPOCHS = {"digits": 12, "mnist": 2}  # a few seconds, and well over 97 %
WRITEUP_PROBABILITY = (
    0.98764  # of the write-up's digit: ours is one of about that, as a surer one would have next to no gradients
)
# Part 2, left open by the write-up:
SHOWN_CHANNELS = 4  # of each stage, the strongest ones
WINDOW_PARTS = (10, 8)  # occlusion hides a tenth of the clip in an eighth of its bands at a time


def main(argv=None):
    parser = step_parser(__doc__)
    parser.add_argument("--digit-epochs", type=whole(1), help="passes over the digits (default: 12, with --mnist 2)")
    parser.add_argument(
        "--mnist", metavar="DIR", help="MNIST's four idx files, gzipped or not, in place of scikit-learn's small digits"
    )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="of step7_cnn.py (default: its newest full run of these data in --out)"
    )
    parser.add_argument(
        "--clip", metavar="ID", help="clip of the genre test split (default: the first that the network gets right)"
    )
    args = parser.parse_args(argv)
    source = "mnist" if args.mnist else "digits"
    args.digit_epochs = args.digit_epochs or DIGIT_EPOCHS[source]
    data = find_data(args.data, demo=demo_folder)
    with start_run(args, STEP, "Step 7a: a look inside two convolutional networks", data, args.seed, source) as run:
        result = look(args, data, run)
    return print_results(STEP, data, args.mode, [args.seed], [[result]])


def look(args, data, run):
    digits = mnist_digits(args.mnist) if args.mnist else small_digits(args.seed)
    path, missing = find_genre_cnn(args.checkpoint, args.out, data, args.seed)
    # now, so that a wrong file or clip ends the run before anything is trained
    genre = path and open_genre_cnn(path, args, data, run)

    print(f"\nPart 1: ConvNetJS's network on {digits.description}")
    model, history = train_digits(digits, args.digit_epochs, args.seed)
    layers = look_at_a_digit(model, digits, run)
    result, metrics = {"digits_acc": history[-1]["held_acc"]}, {"digits": layers}

    print("\nPart 2: step 7's genre CNN on one clip")
    if genre:
        found, metrics["genre"] = look_at_a_clip(*genre, run)
        result |= found
    else:
        print(missing)
    run.finish(result, metrics, history)
    return result


def look_at_a_digit(model, digits, run):
    """Prints every layer in the write-up's form for one held-out digit and draws two figures. Returns {layer: its
    lines}.
    """
    held_x, held_y = held_out_tensors(digits, CROP)
    probability, predicted = logits_of(model, held_x).softmax(dim=1).max(dim=1)
    distance = (
        (probability - WRITEUP_PROBABILITY).abs().masked_fill(predicted != held_y, torch.inf)
    )  # rightly recognised ones only
    number = int(distance.argmin())
    true = int(held_y[number])
    modules = {name: module for name, module in model.named_children() if name != "flatten"}
    logits, layers = look_inside(model, modules, true, held_x[number : number + 1])
    # as in ConvNetJS, whose softmax layer computes the loss: the first gradient, probabilities minus one-hot, is at the
    # layer before
    layers["softmax"] = Inside(logits.softmax(dim=0), torch.zeros(len(logits)))
    print(
        f"\nheld-out digit {number}, a {true}, recognised as {logits.argmax()} with probability {logits.softmax(dim=0).max():.5f}"
    )
    print(
        "Gradients are those of its cross entropy by each layer's output. The softmax is part of that loss: its own counts as 0,"
    )
    print("as in ConvNetJS, and the first one, probabilities minus one-hot, stands at fc.")
    lines = {name: layer_lines(name.rstrip("12"), inside, modules.get(name)) for name, inside in layers.items()}
    for block in lines.values():
        print("", *block, sep="\n")
    maps = layers[
        "pool2"
    ].activation.shape  # what fc reads, so that its weights can be drawn as pictures of the same form
    weights = weights_figure(
        [filter_tiles("conv1", model.conv1), filter_tiles("conv2", model.conv2), filter_tiles("fc", model.fc, maps)]
    )
    for name, figure in (("digits_layers", layers_figure(layers)), ("digits_weights", weights)):
        write_atomically(run.folder / f"{name}.png", png(figure))  # Run.save_figure would call it demo music
    return lines


def open_genre_cnn(path, args, data, run):
    """Reads the CNN, both genre splits and the choice of clip: (model, test split, row of the clip in it)."""
    model, metadata, (kind, columns, beat, _, head) = load_network(path)
    if (kind, columns, beat, head) != ("cnn", "mel", False, "genre"):
        found = f"its architecture is {shown(str(metadata['architecture']))}"
        raise LabError(f"{path}: a checkpoint of step7_cnn.py, a CNN on mel, was expected, but {found}")
    test_set = genre_splits(data.genres(), data.class_mapping, "mel", **reading_options(args))[1]
    classes = test_set.label_transformer.classes_
    if metadata["classes"] != classes:
        there = ", ".join(metadata["classes"])
        raise LabError(f"{path}: a network for {', '.join(classes)} was expected, but it is for {there}")
    origin = "the same data" if metadata["data"] == data.fingerprint else f"other data, {metadata['data_path']}"
    print(
        f"checkpoint : {path}, epoch {metadata['epoch']} of {metadata['step']}/{metadata['variant']}, trained on {origin}"
    )
    warn_of_overlap(metadata["train_ids"], test_set, "were used to train it")
    run.metadata |= {"architecture": metadata["architecture"], "classes": classes, "checkpoint": str(path)}
    if args.clip and clip_id(args.clip) not in test_set.ids:
        raise LabError(
            f"--clip {args.clip}: a clip of the genre test split was expected, {data.genres()} has none of it"
        )
    row = test_set.ids.index(clip_id(args.clip)) if args.clip else first_right(model, test_set)
    features, _, length = test_set[row]
    check_outputs(path, logits_of(model, torch.from_numpy(features[None, :length]), torch.tensor([length])))
    return model, test_set, row


def look_at_a_clip(model, test_set, row, run):
    """Prints and draws the genre CNN's layers, filters and reasons on one clip. Returns figures for the RESULT line and
    the metrics.
    """
    features, label, length = test_set[row]
    ident, classes = test_set.ids[row], test_set.label_transformer.classes_
    clip, lengths = torch.from_numpy(features[:length]), torch.tensor([length])
    stages = {f"stage {number}": stage for number, stage in enumerate(model.backbone.stages, start=1)}
    logits, layers = look_inside(model, stages, int(label), clip[None], lengths)
    chances = logits.softmax(dim=0)
    true, predicted = classes[label], classes[chances.argmax()]
    title = f"{ident} ({true}), recognised as {predicted} with probability {chances.max():.3f}"
    print(f"clip       : {title}")

    table = layer_table(model, clip[None], lengths)
    lines = table_lines(table, ("layer", "role", "output", "parameters"))
    print("\nstep 7c: outputs are frames x mel bands x channels", *lines, sep="\n")
    print(f"parameters in total: {sum(row['count'] for row in table)}")
    print("(Pooling stands before ReLU here: both keep the order of values, so the function is the write-up's.)")
    for name in stages:
        print("", *layer_lines(name, layers[name]), sep="\n")
    maps = [(name, layers[name].activation.numpy()) for name in stages]
    run.save_figure("genre_stages", stages_figure(clip.numpy(), maps, SHOWN_CHANNELS, title))
    run.save_figure(
        "genre_filters", weights_figure([filter_tiles("stage 1", model.backbone.stages[0][0], spectrogram=True)])
    )

    regions = occlusion(model, clip, int(chances.argmax()), WINDOW_PARTS)
    most = max(regions, key=lambda region: region.drop)
    reasons = occlusion_lines(regions, most, chances.max().item(), predicted)
    print("", *reasons, sep="\n")
    run.save_figure("genre_occlusion", occlusion_figure(clip.numpy(), regions, most, predicted, title))
    metrics = {"clip": ident, "layers": table, "occlusion": reasons, "drop": most.drop}
    return {"clip": ident, "true": true, "predicted": predicted}, metrics


if __name__ == "__main__":
    run_script(main)

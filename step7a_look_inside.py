"""Step 7a: what happens in each layer of a convolutional network, of ConvNetJS's for digits and of step 7's for genres?

    python step7a_look_inside.py
    python step7a_look_inside.py --data DIR --clip 1042
    python step7a_look_inside.py --mnist DIR --checkpoint runs/step7_cnn/mel_seed0/best.pt

Part 2 needs a run of step7_cnn.py on the same data in --out, or its checkpoint by --checkpoint; without one only part 1
runs. Writes runs/step7a_look_inside/<digits or mnist>_seed<n>/: log, metrics and figures. The write-up is the report of
2020-21 that this repository makes reproducible. About half a minute on 2 CPU cores; uses no GPU.
"""

import torch

from common.checks import warn_of_overlap
from common.cli import run_script, start_run, step_parser, whole
from common.dataset import genre_splits
from common.errors import LabError, shown
from common.files import write_atomically
from common.labels import clip_id
from common.locations import find_data
from common.plots import png
from common.progress import explain
from common.report import print_results
from common.versions import fingerprint_text, trained_on
from extras.demo.folder import demo_folder
from extras.inside.digits import CROP, held_out_tensors, mnist_digits, small_digits, train_digits
from extras.inside.measure import (
    Inside,
    agreement,
    first_correct,
    grad_cam,
    layer_lines,
    layer_table,
    logits_of,
    look_inside,
    occlusion,
    occlusion_lines,
    table_lines,
)
from extras.inside.plots import evidence_figure, filter_tiles, layers_figure, stages_figure, weights_figure
from extras.songs.networks import check_outputs, find_genre_cnn, load_network

STEP = "step7a_look_inside"

# Part 1, from ConvNetJS's MNIST demo: the network, and random crops of 24x24 pixels. The demo trains with Adadelta
# until it is stopped; here:
DIGIT_EPOCHS = {"digits": 12, "mnist": 2}  # a few seconds, and well over 97 %
# Of the write-up's digit. Ours has about the same: of a digit with a higher one the gradients would be close to 0.
WRITEUP_PROBABILITY = 0.98764
# Part 2, left open by the write-up:
SHOWN_CHANNELS = 4  # of each stage, those with the largest mean activation
WINDOW_PARTS = (10, 8)  # occlusion hides a tenth of the clip's frames in an eighth of its bands at a time


def main(argv=None):
    parser = step_parser(__doc__)
    mnist = "folder of MNIST's four idx files, gzipped or not (default: scikit-learn's small digits)"
    checkpoint = "of step7_cnn.py (default: its newest full run of these data in --out)"
    clip = "clip of the genre test split (default: the first that is classified correctly)"
    parser.add_argument(
        "--digit-epochs", type=whole(1), help="epochs of the digits network (default: 12, with --mnist 2)"
    )
    parser.add_argument("--mnist", metavar="DIR", help=mnist)
    parser.add_argument("--checkpoint", metavar="FILE", help=checkpoint)
    parser.add_argument("--clip", metavar="ID", help=clip)
    explain(parser, seed="of the digits network; which run of step 7 is looked into (default: %(default)s)")
    args = parser.parse_args(argv)
    source = "mnist" if args.mnist else "digits"
    args.digit_epochs = args.digit_epochs or DIGIT_EPOCHS[source]
    data = find_data(args.data, demo=demo_folder)
    title = "Step 7a: a look inside two convolutional networks"
    with start_run(args, STEP, title, data, args.seed, source, folders=[]) as run:  # part 1 reads none
        result = look(args, data, run)
    return print_results(STEP, data, args.mode, [args.seed], [[result]])


def look(args, data, run):
    digits = mnist_digits(args.mnist) if args.mnist else small_digits(args.seed)
    path, missing = find_genre_cnn(args.checkpoint, args.out, data, args.seed)
    # read first, so that a wrong file or clip ends the run before anything is trained
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
    """Prints every layer for one held-out digit in the write-up's form and draws two figures: {layer: its lines}."""
    held_x, held_y = held_out_tensors(digits, CROP)
    probability, predicted = logits_of(model, held_x).softmax(dim=1).max(dim=1)
    distance = (probability - WRITEUP_PROBABILITY).abs()
    number = int(distance.masked_fill(predicted != held_y, torch.inf).argmin())  # of those classified correctly
    true = int(held_y[number])
    modules = {name: module for name, module in model.named_children() if name != "flatten"}
    logits, layers = look_inside(model, modules, true, held_x[number : number + 1])
    chances = logits.softmax(dim=0)
    layers["softmax"] = Inside(chances, torch.zeros(len(chances)))  # as in ConvNetJS, whose softmax computes the loss
    print(f"\nheld-out digit {number}, a {true}, classified as {chances.argmax()} with probability {chances.max():.5f}")
    print(
        "Gradients are of the cross entropy with respect to each layer's output. The softmax is part of this loss: its"
    )
    print("gradient is 0, as in ConvNetJS, and that of fc is the probabilities minus the one-hot label.")
    lines = {name: layer_lines(name.rstrip("12"), inside, modules.get(name)) for name, inside in layers.items()}
    for block in lines.values():
        print("", *block, sep="\n")
    tiles = [filter_tiles(name, modules[name]) for name in ("conv1", "conv2")]
    tiles.append(filter_tiles("fc", model.fc, layers["pool2"].activation.shape))  # the shape of the input of fc
    for name, figure in (("digits_layers", layers_figure(layers)), ("digits_weights", weights_figure(tiles))):
        write_atomically(run.folder / f"{name}.png", png(figure))  # Run.save_figure would mark it as demo music
    return lines


def open_genre_cnn(path, args, data, run):
    """Reads the CNN and the test set and chooses the clip: (model, test set, index of the clip in it)."""
    model, metadata, (kind, columns, beat, _, head) = load_network(path)
    if (kind, columns, beat, head) != ("cnn", "mel", False, "genre"):
        found = f"its architecture is {shown(str(metadata['architecture']))}"
        raise LabError(f"{path}: a checkpoint of step7_cnn.py, a CNN on mel, was expected, but {found}")
    test_set = genre_splits(data.genres(), data.class_mapping, "mel", **args.reading)[1]
    classes = test_set.label_transformer.classes_
    if metadata["classes"] != classes:
        there = ", ".join(metadata["classes"])
        raise LabError(f"{path}: a network for {', '.join(classes)} was expected, but it is for {there}")
    name = f"{metadata['step']}/{metadata['variant']}"
    print(f"checkpoint : {path}, epoch {metadata['epoch']} of {name}, trained on {trained_on(data, metadata)}")
    warn_of_overlap(metadata, test_set, "were used to train it")
    run.metadata |= {"architecture": metadata["architecture"], "classes": classes, "checkpoint": str(path)}
    run.metadata["data"] = fingerprint_text(data, [data.genres()])
    if args.clip and clip_id(args.clip) not in test_set.ids:
        raise LabError(f"--clip {args.clip}: a clip of the genre test split was expected, in {data.genres()}")
    index = test_set.ids.index(clip_id(args.clip)) if args.clip else first_correct(model, test_set)
    features, _, length = test_set[index]
    check_outputs(path, logits_of(model, torch.from_numpy(features[None, :length]), torch.tensor([length])))
    return model, test_set, index


def look_at_a_clip(model, test_set, index, run):
    """Prints and draws the genre CNN's layers, filters and occlusion on one clip: (RESULT line's values, metrics)."""
    features, label, length = test_set[index]
    ident, classes = test_set.ids[index], test_set.label_transformer.classes_
    clip, lengths = torch.from_numpy(features[:length]), torch.tensor([length])
    stages = {f"stage {number}": stage for number, stage in enumerate(model.backbone.stages, start=1)}
    logits, layers = look_inside(model, stages, int(label), clip[None], lengths)
    chances = logits.softmax(dim=0)
    true, predicted = classes[label], classes[chances.argmax()]
    title = f"{ident} ({true}), classified as {predicted} with probability {chances.max():.3f}"
    print(f"clip       : {title}")

    table = layer_table(model, clip[None], lengths)
    lines = table_lines(table, ("layer", "role", "output", "parameters"))
    print("\nstep 7c: outputs are frames x mel bands x channels", *lines, sep="\n")
    print(f"parameters in total: {sum(row['count'] for row in table)}")
    print("(Pooling is before ReLU here; as ReLU is monotonic, the result is the same as in the write-up's order.)")
    for name in stages:
        print("", *layer_lines(name, layers[name]), sep="\n")
    maps = [(name, layers[name].activation.numpy()) for name in stages]
    run.save_figure("genre_stages", stages_figure(clip.numpy(), maps, SHOWN_CHANNELS, title))
    filters = filter_tiles("stage 1", model.backbone.stages[0][0], spectrogram=True)
    run.save_figure("genre_filters", weights_figure([filters]))

    regions = occlusion(model, clip, int(chances.argmax()), WINDOW_PARTS)
    most = max(regions, key=lambda region: region.drop)
    reasons = occlusion_lines(regions, most, chances.max().item(), predicted)
    print("", *reasons, sep="\n")
    heat = grad_cam(model, model.backbone.stages[-1], clip, int(chances.argmax()))
    rho = agreement(heat, regions)
    text = "undefined" if rho is None else f"{rho:.3f}"
    print(f"Grad-CAM   : of the last stage; rank correlation with occlusion {text} over the {len(regions)} windows")
    figure = evidence_figure(clip.numpy(), regions, most, heat.numpy(), predicted, title)
    run.save_figure("genre_occlusion", figure)
    metrics = {"clip": ident, "layers": table, "occlusion": reasons, "drop": most.drop, "grad_cam_agreement": rho}
    return {"clip": ident, "true": true, "predicted": predicted}, metrics


if __name__ == "__main__":
    run_script(main)

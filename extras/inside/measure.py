"""Inside a trained network: activations, gradients and parameters of each layer, and the regions behind a decision."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from common.features import N_MELS, SAMPLE_RATE
from common.metrics import spearman
from common.models import CNNBackbone
from common.progress import progress
from common.spectrogram_plots import FRAME_SECONDS, mel_of

ROLES = {  # the write-up's 7c in a few words
    nn.Conv2d: "extracts local patterns, with the same weights at every position",
    nn.BatchNorm2d: "normalises each channel by its mean and standard deviation",
    nn.MaxPool2d: "halves the resolution: the largest value of each 2x2",
    nn.ReLU: "the non-linearity: negative values become 0",
    CNNBackbone: "the mean over the frames, of each channel in each frequency band",
    nn.Linear: "the weighted sums of these means, one logit for each class",
}


class Inside(NamedTuple):
    """A layer's output for one example, (C, H, W) or (n,), and the gradient of the loss with respect to it."""

    activation: torch.Tensor
    gradient: torch.Tensor


def look_inside(model, watched, target, x, *more):
    """Forward and backward pass of one example, in evaluation mode: (logits (C,), {name: Inside}), "input" first.

    watched: {name: submodule}, none followed by an in-place operation; target: the true class number; x: (1, ...)
    float; more: other arguments of the model, such as lengths (1,). The loss is the cross entropy. The gradients of the
    parameters are in their .grad afterwards.
    """
    model.eval()
    model.zero_grad()
    x = x.clone().requires_grad_()
    kept = {"input": x}
    hooks = [module.register_forward_hook(keeper(kept, name)) for name, module in watched.items()]
    try:
        logits = model(x, *more)
    finally:
        for hook in hooks:
            hook.remove()
    for tensor in kept.values():
        tensor.retain_grad()
    nn.functional.cross_entropy(logits, torch.tensor([target])).backward()
    return logits[0].detach(), {name: Inside(tensor[0].detach(), tensor.grad[0]) for name, tensor in kept.items()}


@torch.inference_mode()
def logits_of(model, x, *more):
    """The logits of many examples, (n, ...) -> (n, C), a thousand at a time; with `more`, at most a thousand."""
    model.eval()
    return torch.cat([model(part, *more) for part in x.split(1000)])


def first_correct(model, dataset):
    """The index of the first clip of a SpectrogramDataset that is classified correctly; 0 if none is."""
    for index in range(len(dataset)):
        features, label, length = dataset[index]
        if logits_of(model, torch.from_numpy(features[None, :length]), torch.tensor([length])).argmax() == label:
            return index
    return 0


def keeper(kept, name):
    """A forward hook that stores a module's output in kept[name]."""

    def hook(_module, _inputs, output):
        kept[name] = output

    return hook


def layer_lines(name, inside, module=None):
    """One layer in the write-up's form, as lines: sizes, range of activations and of gradients, parameters."""
    lines = [f"{name} ({shape_text(inside.activation.shape)})"]
    if isinstance(module, nn.Conv2d):
        size = f"{size_text(module.kernel_size)}x{module.in_channels}"
        lines.append(f"filter size {size}, stride {pair(module.stride)[0]}")
    if isinstance(module, nn.MaxPool2d):
        lines.append(f"pooling size {size_text(module.kernel_size)}, stride {pair(module.stride)[0]}")
    for what, values in (("activation", inside.activation), ("gradient", inside.gradient)):
        lines.append(f"max {what}: {number_text(values.max().item())}, min: {number_text(values.min().item())}")
    count, text = parameters_of(module)
    return [*lines, f"parameters: {text}"] if count else lines


def parameters_of(module):
    """(number of parameters, its calculation) of a layer: 208, "8x5x5x1+8 = 208" for 8 filters of 5x5x1 and biases."""
    if isinstance(module, nn.Conv2d):
        text = f"{module.out_channels}x{size_text(module.kernel_size)}x{module.in_channels}+{module.out_channels}"
    elif isinstance(module, nn.Linear):
        text = f"{module.out_features}x{module.in_features}+{module.out_features}"
    elif isinstance(module, nn.BatchNorm2d):
        text = f"{module.num_features}+{module.num_features}"  # a scale and a shift for each channel
    else:
        return 0, "-"
    count = sum(parameter.numel() for parameter in module.parameters())
    return count, f"{text} = {count}"


def layer_table(model, x, lengths):
    """The layers of a Classifier on a CNNBackbone in the order of the forward pass, for x (1, T, F), lengths (1,).

    Returns [{"layer", "role", "output": shape as text, "parameters": calculation as text, "count": their number}].
    """
    names = {module: name for name, module in model.named_modules()}
    rows = []

    def add_row(module, _inputs, output):
        count, text = parameters_of(module)
        shape, role = output[0].shape, ROLES[type(module)]
        # the backbone's last operation, the mean over time, is the only one without a module
        name = "mean over time" if isinstance(module, CNNBackbone) else layer_name(names[module], module)
        rows.append({"layer": name, "role": role, "output": shape_text(shape), "parameters": text, "count": count})

    hooks = [module.register_forward_hook(add_row) for module in names if type(module) in ROLES]
    model.eval()
    try:
        model(x, lengths)
    finally:
        for hook in hooks:
            hook.remove()
    return rows


def layer_name(path, module):
    """backbone.stages.0.1, BatchNorm2d -> stage 1 batch norm; head, Linear -> linear head."""
    kinds = {nn.Conv2d: "conv", nn.BatchNorm2d: "batch norm", nn.MaxPool2d: "max pool", nn.ReLU: "ReLU"}
    if type(module) not in kinds:
        return f"linear {path}"
    size = f" {size_text(module.kernel_size)}" if hasattr(module, "kernel_size") else ""
    return f"stage {int(path.split('.')[-2]) + 1} {kinds[type(module)]}{size}"


def table_lines(rows, columns):
    """Columns of [{column: value}] as lines of text with a header, each column as wide as its widest value."""
    rows = [dict(zip(columns, columns, strict=True)), *rows]
    widths = {name: max(len(row[name]) for row in rows) for name in columns}
    return ["  ".join(f"{row[name]:{widths[name]}}" for name in columns).rstrip() for row in rows]


def shape_text(shape):
    """Shapes in ConvNetJS's order, depth last: (C, H, W) -> HxWxC, frames x mel bands for clips; (n,) -> 1x1xn."""
    depth, *size = shape
    return f"{size_text(size or (1, 1))}x{depth}"


def size_text(size):
    return "x".join(map(str, pair(size)))


def pair(size):
    """A size of PyTorch, one number or two, as two."""
    return tuple(size) if isinstance(size, (tuple, list)) else (size, size)


def number_text(value):
    """Five decimals without trailing zeros, as in the write-up; two digits, 2.1e-07, for what would round to 0."""
    if value and abs(value) < 5e-6:
        return f"{value:.1e}"
    return f"{value + 0.0:.5f}".rstrip("0").rstrip(".")  # + 0.0 makes 0 of -0


def grad_cam(model, stage, clip, target):
    """Where a stage of a network finds evidence for a class, by Grad-CAM (Selvaraju et al. 2017): (T, F) of 0 and more.

    The channels of the stage's output, (C, T', F'), each weighted by the mean gradient of the class's logit with
    respect to it; their sum without its negative part, interpolated to the clip. clip: (T, F) float; target: class
    number; stage: a submodule of the model, not followed by an in-place operation.
    """
    kept: dict = {}
    model.eval()
    hook = stage.register_forward_hook(keeper(kept, "output"))
    try:
        logits = model(clip[None], torch.tensor([len(clip)]))
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(logits[0, target], kept["output"])
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (1, C, 1, 1)
    heat = (weights * kept["output"].detach()).sum(dim=1, keepdim=True).relu()  # (1, 1, T', F')
    return nn.functional.interpolate(heat, clip.shape, mode="bilinear", align_corners=False)[0, 0]


def agreement(heat, regions):
    """Spearman's correlation, over the windows of occlusion, of Grad-CAM's mean in a window and the drop; None if undefined."""
    means = [heat[region.frames, region.bands].mean().item() for region in regions]
    return spearman(np.array(means), np.array([region.drop for region in regions]))


class Region(NamedTuple):
    """A window of a clip, frames and bands as slices, and by how much hiding it lowers a class's log-probability."""

    frames: slice
    bands: slice
    drop: float


@torch.inference_mode()
def occlusion(model, clip, target, parts, batch_size=8):
    """Hides one window of a clip after the other and measures how much less likely a class becomes: [Region].

    In a hidden window every band takes its mean over the clip, so that the mean spectrum hardly changes. A negative
    drop means that the class becomes more likely. model(x (B, T, F), lengths (B,)) -> logits; clip: (T, F) float;
    target: class number; parts: the window is 1/parts[0] of the frames by 1/parts[1] of the bands, and moves by half
    its size.
    """
    model.eval()
    frames, bands = clip.shape
    level = clip.mean(dim=0)  # (F,)
    windows = [(time, band) for time in spans(frames, parts[0]) for band in spans(bands, parts[1])]

    def log_probability(clips):
        return model(clips, torch.full((len(clips),), frames)).double().log_softmax(dim=1)[:, target]

    whole = log_probability(clip[None]).item()
    regions = []
    for start in progress(range(0, len(windows), batch_size), "occlusion", "batch", inner=True):
        batch = windows[start : start + batch_size]
        hidden = clip.repeat(len(batch), 1, 1)  # (T, F) -> (B, T, F)
        for one, (time, band) in zip(hidden, batch, strict=True):
            one[time, band] = level[band]
        without = log_probability(hidden).tolist()
        regions += [Region(*window, whole - left) for window, left in zip(batch, without, strict=True)]
    return regions


def spans(size, parts):
    """Slices of 1/parts of `size`, rounded up, that overlap by half; the last one ends at `size`."""
    width = math.ceil(size / parts)
    starts = [*range(0, size - width, max(1, width // 2)), size - width]
    return [slice(start, start + width) for start in starts]


def occlusion_map(regions):
    """The mean drop of all windows that cover a frame and band: [Region] -> (T, F) float64."""
    shape = max(region.frames.stop for region in regions), max(region.bands.stop for region in regions)
    total = torch.zeros(shape, dtype=torch.float64)
    count = torch.zeros_like(total)
    for region in regions:
        total[region.frames, region.bands] += region.drop
        count[region.frames, region.bands] += 1
    return total / count


def occlusion_lines(regions, most, probability, name):
    """The result of occlusion as lines; most: the largest drop; probability, name: of the predicted class."""
    lines = [f"occlusion  : {len(regions)} windows, hidden one at a time: each band takes its mean over the clip"]
    if most.drop <= 0:
        return [*lines, f"             no hidden window makes {name} less likely: no single region decides"]
    region, lower = region_text(most), probability * math.exp(-most.drop)
    lines.append(
        f"             most important for {name}: {region}; hiding it lowers the log-probability by {most.drop:.4f},"
    )
    return [*lines, f"             the probability from {probability:.4f} to {lower:.4f}"]


def hertz_of_band(band):
    """The centre frequency of a mel band, which may be a fraction: the inverse of mel_band_of."""
    mel = (band + 1) / (N_MELS + 1) * mel_of(SAMPLE_RATE / 2)
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def region_text(region):
    """A window as text, in seconds and Hz."""
    start, stop = (frame * FRAME_SECONDS for frame in (region.frames.start, region.frames.stop))
    low, high = (max(0, hertz_of_band(band - 0.5)) for band in (region.bands.start, region.bands.stop))
    return f"{start:.1f} to {stop:.1f} s, {low:.0f} to {high:.0f} Hz"

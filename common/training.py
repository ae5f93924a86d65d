"""One pass of training, one of evaluation, and the memory of the best epoch."""

import contextlib
import math
from typing import NamedTuple

import torch
from torch import nn

from common.errors import LabError
from common.misuse import check_mean


class Evaluation(NamedTuple):
    """What evaluate returns: loss over all clips; outputs and targets (n, ...) on the CPU, in the loader's order.

    loss is a list where the loss function returns several numbers.
    """

    loss: float | list
    outputs: torch.Tensor
    targets: torch.Tensor


def train_epoch(model, loader, loss_function, optimizer, device="cpu"):
    """One pass over the loader's batches (x, y, lengths); returns the mean loss per clip.

    Batches count by their number of clips, so that a smaller last one weighs less; under nn.CrossEntropyLoss(weight)
    itself, which a function around it hides, by the sum of their clips' weights. A loss function may return several
    numbers (k,): the first is minimised, the means of all are returned as a list. Raises LabError where they are no
    means over the clips (see check_mean), and, naming step and clips, where a loss is not finite.
    """
    train_mode(model)
    scaler = gradient_scaler(device)
    total, clips = torch.zeros(()), 0.0
    class_weights = loss_function.weight if isinstance(loss_function, (nn.CrossEntropyLoss, nn.NLLLoss)) else None
    for step, (x, y, lengths) in enumerate(loader):
        x, y, lengths = x.to(device), y.to(device), lengths.to(device)
        with mixed_precision(device):
            outputs = model(x, lengths)
            loss = loss_function(outputs, y)
            if step == 0:
                check_mean(loss_function, outputs.detach(), y)
        if not torch.isfinite(loss).all():
            where = f"step {step} of the epoch, with the clips {', '.join(batch_clips(loader))}"
            raise LabError(f"non-finite: the loss is {loss.flatten()[0].item()} at {where}; a lower --lr usually helps")
        optimizer.zero_grad()
        scaler.scale(loss.flatten()[0]).backward()
        scaler.step(optimizer)
        scaler.update()
        count = len(y) if class_weights is None or y.is_floating_point() else class_weights[y].sum().item()
        total = total + loss.detach().cpu().double() * count
        clips += count
    return (total / clips).tolist()


@torch.inference_mode()
def evaluate(model, loader, loss_function, device="cpu"):
    """The model's outputs over a loader, in evaluation mode and without gradients, as an Evaluation.

    The loss function is applied once, to all outputs. Raises LabError where it returns no means (see check_mean).
    """
    model.eval()
    outputs, targets = [], []
    for x, y, lengths in loader:
        with mixed_precision(device):
            output = model(x.to(device), lengths.to(device))
        outputs.append(output.to(torch.promote_types(output.dtype, torch.float32)))  # mixed precision gives half of it
        targets.append(y.to(device))
    output, target = torch.cat(outputs), torch.cat(targets)
    check_mean(loss_function, output, target)
    return Evaluation(loss_function(output, target).tolist(), output.cpu(), target.cpu())


def mixed_precision(device):
    """The context of a forward pass: on an NVIDIA GPU bfloat16 where the chip has it, else float16; none elsewhere."""
    if torch.device(device).type != "cuda":
        return contextlib.nullcontext()
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast("cuda", dtype=torch.bfloat16 if has_bfloat16 else torch.float16)


def gradient_scaler(device):
    """Scales losses so that float16 gradients do not vanish; does nothing where mixed_precision needs none."""
    needed = torch.device(device).type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.amp.GradScaler(init_scale=2.0**12, enabled=needed)


def batch_clips(loader):
    """The ids of the loader's last batch, or the indices where its dataset has no ids."""
    dataset, rows = loader.dataset, getattr(loader.batch_sampler, "current", [])
    while hasattr(dataset, "indices"):  # a Subset
        rows = [dataset.indices[row] for row in rows]
        dataset = dataset.dataset
    return [str(dataset.ids[row]) if hasattr(dataset, "ids") else str(row) for row in rows]


def train_mode(model):
    """Training mode, but evaluation mode for frozen parts of the model, whose batch norm would learn otherwise."""
    model.train()
    for part in model.children():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            part.eval()


class BestEpoch:
    """Keeps a copy of the weights of the epoch with the highest score; of equal ones the first. NaN never wins.

    score: one number or several, compared one after the other. update(epoch, score, model) returns True when this epoch
    is the new best; restore(model) puts the best weights back. Until then they are those that the model came with.
    """

    def __init__(self, model):
        self.epoch, self.score, self.weights, self.tried = None, (), copy_weights(model), 0

    def update(self, epoch, score, model):
        self.tried += 1
        score = score if isinstance(score, tuple) else (score,)
        better = not any(math.isnan(number) for number in score) and score > self.score
        if better:
            self.epoch, self.score, self.weights = epoch, score, copy_weights(model)
        return better

    def restore(self, model):
        if self.tried and self.epoch is None:
            none = f"none of {self.tried} epochs had a finite validation loss"
            raise LabError(f"{none}, so none is best; a lower --lr usually helps")
        model.load_state_dict(self.weights)


def copy_weights(model):
    """A copy on the CPU of every parameter and buffer, {name: tensor}, which further training does not change."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}

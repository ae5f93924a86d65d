"""One pass of training, one of evaluation, and the memory of the best epoch."""

import math
import os
from typing import NamedTuple

import torch

from common.dataset import clip_ids, rows_of
from common.errors import LabError
from common.progress import progress


class Evaluation(NamedTuple):
    """What evaluate returns: the mean loss over the clips, and outputs (n, ...) and targets (n, ...) on the CPU in the loader's order.

    loss is a list where the loss function returns several numbers.
    """

    loss: float | list
    outputs: torch.Tensor
    targets: torch.Tensor


def use_huge_pages():
    """Asks PyTorch to take large tensors from the CPU in pages of 2 MB, before the first of them is made.

    Writing an activation of hundreds of MB otherwise costs a page fault every 4 KB: half the time of the CNN's step.
    The variable is PyTorch's own (c10/core/impl/alloc_cpu.cpp) and does nothing where Linux's huge pages are off.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def train_epoch(model, loader, loss_function, optimizer, device="cpu"):
    """One pass over the loader's batches (x, y, lengths); returns the mean loss per clip, the last, smaller batch counted by its size.

    A loss function may return several numbers (k,): the first is minimised, the means of all are returned as a list.
    """
    train_mode(model)
    losses, sizes = [], []
    for x, y, lengths in progress(loader, "training", "batch", inner=True):
        loss = loss_function(model(x.to(device), lengths.to(device)), y.to(device))
        if not torch.isfinite(loss).all():
            raise LabError(f"the loss is {loss.flatten()[0].item()} at {place_of(loader, len(losses))}; a lower --lr usually helps")
        optimizer.zero_grad()
        loss.flatten()[0].backward()
        optimizer.step()
        losses.append(loss.detach())
        sizes.append(len(y))
    return mean_loss(losses, sizes)


def place_of(loader, step):
    """Where a pass over a loader stands: the step, and the batch's clips by id where the loader knows them."""
    rows = getattr(loader.batch_sampler, "current", [])
    base = rows_of(loader.dataset)[0]
    ids = [clip_ids(loader.dataset)[row] for row in rows] if hasattr(base, "ids") else rows
    return f"step {step} of the epoch, with the clips {', '.join(map(str, ids))}"


def train_mode(model):
    """Training mode for all but those parts of the model whose every parameter is frozen: batch norm would learn in them otherwise."""
    model.train()
    for part in model.children():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            part.eval()


def mean_loss(losses, sizes):
    """Mean over clips of batch losses (), or (k,), and batch sizes: a float, or a list of k."""
    losses = torch.stack(losses).double().cpu()
    return torch.tensordot(torch.tensor(sizes, dtype=torch.float64) / sum(sizes), losses, dims=1).tolist()


@torch.inference_mode()
def evaluate(model, loader, loss_function, device="cpu"):
    """The model's outputs over a loader without training it: dropout off, batch norm from its running statistics. See Evaluation."""
    model.eval()
    outputs, targets, losses = [], [], []
    for x, y, lengths in progress(loader, "evaluating", "batch", inner=True):
        output = model(x.to(device), lengths.to(device))
        losses.append(loss_function(output, y.to(device)))
        outputs.append(output.cpu())
        targets.append(y)
    return Evaluation(mean_loss(losses, [len(y) for y in targets]), torch.cat(outputs), torch.cat(targets))


class BestEpoch:
    """Keeps a copy of the weights of the epoch with the highest score; the first one wins a tie, and NaN never wins.

    score: one number or several, compared one after the other. Until an epoch has won, the weights are those the model came with.
    update(epoch, score, model) returns True when this epoch is the new best; restore(model) puts the best weights back.
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
            raise LabError(f"none of {self.tried} epochs had a finite loss in validation, so none is best; a lower --lr usually helps")
        model.load_state_dict(self.weights)


def copy_weights(model):
    """A copy on the CPU of every parameter and buffer, {name: tensor}, which training on does not change."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def overfit_batch(model, loader, loss_function, optimizer, device="cpu", steps=1000):
    """The course's check before any long run: can the model learn one batch by heart? Prints the loss as it falls, and a verdict.

    Trains on the loader's first batch alone, at most `steps` times, until its loss is a thirtieth of what it was.
    Returns {"overfit": "learns" | "slow" | "stuck" | "diverges", "loss": the last loss}.
    """
    train_mode(model)
    batch = [tensor.to(device) for tensor in next(iter(loader))]
    x, y, lengths = batch
    print(f"overfitting one batch of {len(y)} clips for at most {steps} steps")
    first = None
    for step in progress(range(steps), "overfitting", "step"):
        loss = loss_function(model(x, lengths), y).flatten()[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss = loss.item()
        first = loss if first is None else first
        if step % 20 == 0:
            print(f"step : {step} ,loss = {loss}")
        if not math.isfinite(loss) or loss < first / 30:
            break
    verdict = "diverges" if not loss < 2 * first else "learns" if loss < first / 30 else "stuck" if loss > 0.8 * first else "slow"
    advice = {
        "learns": "the loss of one batch goes to 0: model, labels and loss fit together, a long run is worth its time",
        "slow": "the loss falls but is not near 0 yet: try a higher --lr",
        "stuck": "the loss stays near where it began: try a higher --lr, then look at the labels' order and at the input's scale",
        "diverges": "the loss grows: try a tenth of --lr",
    }
    print(f"verdict : {verdict}, loss {first:.4g} at first and {loss:.4g} after {step + 1} steps; {advice[verdict]}")
    return {"overfit": verdict, "loss": loss}

"""What is amiss with a network, in a sentence: it overfits not even one batch, stays at a constant answer, or is tested
on what it saw.
"""

import math

import torch

from common.dataset import clip_ids
from common.training import train_mode

IN_SINGLE_FILE = (
    False  # left out of the single file of a step: a look at the network before and while it trains, not its training
)

OVERFIT_RATE = 1e-3  # Adam's own default; the write-up's 1e-4 for its LSTMs needs thousands of steps for one batch
OVERFIT_CLIP = (
    0.1  # largest gradient norm, of a loss in units of the constant's; over 400 frames an LSTM's explodes now and then
)


def add_overfit_flag(parser):
    """Adds --overfit-batch."""
    parser.add_argument(
        "--overfit-batch", action="store_true", help="train on one batch until its loss is near 0, and give a verdict"
    )


def overfit_batch(model, loader, loss_function, optimizer, device="cpu", steps=1000):
    """The course's check before any long run: can the model learn one batch by heart? Prints the loss as it falls, and
    a verdict.

    Trains on the loader's first batch alone, at most `steps` times, until its loss is a thirtieth of the constant's: of
    a model that gives every clip the batch's class priors, or its mean. Without weight decay, at a rate of at least
    OVERFIT_RATE and with gradients cut to OVERFIT_CLIP: the question is whether it can learn, not how a long run would.
    Returns {"overfit": "learns" | "slow" | "stuck" | "diverges", "loss": the last loss, None where it is not finite}.
    """
    train_mode(model)
    batch = [tensor.to(device) for tensor in next(iter(loader))]
    x, y, lengths = batch
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = max(group["lr"], OVERFIT_RATE), 0.0
    rate = optimizer.param_groups[0]["lr"]
    print(
        f"overfitting one batch of {len(y)} clips for at most {steps} steps at rate {rate:g}, no weight decay, gradients cut"
    )
    for step in range(steps):
        outputs = model(x, lengths)
        loss = loss_function(outputs, y).flatten()[0]
        if step == 0:
            first = loss.item()
            constant = (
                constant_loss(loss_function, outputs.detach(), y) or first
            )  # equal labels leave it nothing to lose
            print(f"the best constant answer has a loss of {constant:.4g} on it")
        optimizer.zero_grad()
        (loss / constant).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), OVERFIT_CLIP)
        optimizer.step()
        loss = loss.item()
        if step % 20 == 0:
            print(f"step : {step} ,loss = {loss}")
        if not math.isfinite(loss) or loss < constant / 30:
            break
    learnt, grown = loss < constant / 30, not loss < 2 * max(first, constant)
    verdict = "learns" if learnt else "diverges" if grown else "stuck" if loss > 0.8 * constant else "slow"
    advice = {
        "learns": "the loss of one batch goes to 0: model, labels and loss fit together, a long run is worth its time",
        "slow": "the loss falls but is not near 0 yet: try a higher --lr",
        "stuck": "the loss stays at the constant's: try a higher --lr, then look at the labels' order and at the input's scale",
        "diverges": "the loss grows: try a tenth of --lr",
    }
    print(f"verdict : {verdict}, loss {loss:.4g} after {step + 1} steps; {advice[verdict]}")
    return {"overfit": verdict, "loss": loss if math.isfinite(loss) else None}


def constant_loss(loss_function, outputs, y):
    """The loss of the best answer that is the same for every clip of a batch: its class priors, or its mean; outputs:
    the model's.
    """
    if y.is_floating_point():
        constant = y.mean(dim=0)
    else:
        constant = torch.bincount(y, minlength=outputs.shape[1]).to(outputs.dtype).div(len(y)).clamp(min=1e-30).log()
    return loss_function(constant.expand_as(outputs), y).flatten()[0].item()


SEVERAL = 5  # epochs in a row before anything is said
AT_PRIOR = (0.98, 1.05)  # validation loss, as a share of the constant answer's; the write-up's step 5c stays at 1.02
# of it: the least training loss with that; an overfitted network passes the constant's in validation, far below here
NOT_LEARNT = 0.85
FLAT = (
    0.05  # the predictions' deviation as a share of the labels'; of a network that says the mean it is hardly anything
)


def watch_training(history, val, references):
    """Prints one sentence each, once in a run, when over the last epochs the loss has not left the prior, or
    predictions have collapsed.

    history: [{train_loss, val_loss, ...}] with the epoch just ended as its last, which gets one entry more: `spread`,
    of the validation
    predictions: the number of classes among them, or their deviation as a share of the labels', the smallest where
    there are several axes.
    val: the Evaluation of the validation clips. references: {name: loss}, the constant answer's last.
    Says the same of the same history, however often the run was interrupted.
    """
    name, prior = list(references.items())[-1]
    classify = not val.targets.is_floating_point()
    if classify:
        spread = len(val.outputs.argmax(dim=1).unique())
    else:
        spread = (
            (val.outputs.std(dim=0, correction=0) / val.targets.std(dim=0, correction=0).clamp(min=1e-9)).min().item()
        )
    history[-1]["spread"] = spread
    at_prior = [
        AT_PRIOR[0] * prior <= epoch["val_loss"] <= AT_PRIOR[1] * prior and epoch["train_loss"] >= NOT_LEARNT * prior
        for epoch in history
    ]
    collapsed = [epoch["spread"] == 1 if classify else epoch["spread"] < FLAT for epoch in history]
    if first_time(at_prior):
        print(
            f"verdict    : for {SEVERAL} epochs the validation loss has sat at that of a constant answer ({name}, {prior:.4f}): while it "
            "stays there, little or nothing is learnt; a higher --lr, or --overfit-batch to see whether it can learn at all"
        )
    if first_time(collapsed):
        what = (
            "every validation clip gets the same class" if classify else "predictions hardly differ from clip to clip"
        )
        which = " on one axis at least" if val.targets.dim() > 1 else ""
        print(
            f"verdict    : for {SEVERAL} epochs {what}{which}, as a constant answer would have it; a higher --lr usually helps"
        )


def first_time(signs):
    """Are the last SEVERAL of these booleans the first so many in a row that are all true?"""
    runs = [all(signs[end - SEVERAL : end]) for end in range(SEVERAL, len(signs) + 1)]
    return bool(runs) and runs[-1] and not any(runs[:-1])


def warn_of_overlap(seen, test_set, words):
    """Says how many test clips have ids among those `seen`; an equal id need not be an equal song, but it usually is."""
    shared = set(seen) & set(clip_ids(test_set))
    if shared:
        print(
            f"             WARNING: {len(shared)} of the {len(test_set)} test clips have ids that {words}, say '{min(shared)}'"
        )


def print_finite(run, history):
    """After a dry run: whether all of its losses are finite."""
    if run.metadata["mode"] == "quick":
        finite = all(math.isfinite(epoch[loss]) for epoch in history for loss in ("train_loss", "val_loss"))
        print(
            f"verdict    : {'runs, every loss is finite' if finite else 'non-finite, a loss is no number; a lower --lr helps'}"
        )

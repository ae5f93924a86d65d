"""Checks of a network: does it overfit one batch, is it no better than a constant, was it trained on test clips?"""

import math

import numpy as np
import torch

from common.dataset import clip_ids, clip_labels, unwrap
from common.errors import LabError
from common.files import checksum
from common.misuse import check_mean
from common.training import train_mode

IN_SINGLE_FILE = False  # left out of the single file of a step: no part of the training

OVERFIT_LR = 1e-3  # Adam's own default; the write-up's 1e-4 for its LSTMs needs thousands of steps for one batch
# largest gradient norm, of a loss in units of the constant predictor's; over 400 frames an LSTM's explodes now and then
OVERFIT_CLIP = 0.1


def add_overfit_flag(parser):
    """Adds --overfit-batch."""
    text = "sanity check: train on one batch until its loss is near 0"
    parser.add_argument("--overfit-batch", action="store_true", help=text)


def check_torch_defaults():
    """Raises LabError where a notebook has changed what all networks and training of PyTorch start from."""
    if torch.get_default_dtype() != torch.float32:
        now = str(torch.get_default_dtype()).removeprefix("torch.")
        raise LabError(f"torch.set_default_dtype(torch.float32) was expected before this: the default is {now}")
    if torch.empty(0).device.type != "cpu":
        raise LabError("torch.set_default_device(None) was expected before this: --device says where to train")
    if not torch.is_grad_enabled():
        raise LabError("torch.set_grad_enabled(True) was expected before this: gradients are switched off")


def overfit_batch(model, loader, loss_function, optimizer, device="cpu", steps=1000):
    """The course's sanity check before any long run: can the model overfit one batch? Prints the loss and an answer.

    Trains on the loader's first batch alone, at most `steps` times, until its loss is a thirtieth of the constant
    predictor's, which gives every clip the batch's class priors or its mean. Without weight decay, at a learning rate
    of at least OVERFIT_LR, and with gradients clipped to OVERFIT_CLIP: the question is whether it can learn at all.
    Returns {"overfit": "learns" | "slow" | "stuck" | "diverges", "loss": the last loss, None where it is not finite}.
    """
    train_mode(model)
    batch = [tensor.to(device) for tensor in next(iter(loader))]
    x, y, lengths = batch
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = max(group["lr"], OVERFIT_LR), 0.0
    options = f"lr {optimizer.param_groups[0]['lr']:g}, no weight decay, gradients clipped"
    print(f"overfitting one batch of {len(y)} clips for at most {steps} steps: {options}")
    for step in range(steps):
        outputs = model(x, lengths)
        loss = loss_function(outputs, y).flatten()[0]
        if step == 0:
            check_mean(loss_function, outputs.detach(), y)
            first = loss.item()
            constant = constant_loss(loss_function, outputs.detach(), y) or first  # 0 where all labels are equal
            print(f"the best constant predictor has a loss of {constant:.4g} on it")
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
    answer = "learns" if learnt else "diverges" if grown else "stuck" if loss > 0.8 * constant else "slow"
    advice = {
        "learns": "one batch can be overfitted: model, labels and loss fit together, a long run is worth its time",
        "slow": "the loss falls but is not near 0 yet: try a higher --lr",
        "stuck": "the loss stays at the constant predictor's: try a higher --lr, then check label order and input scale",
        "diverges": "the loss grows: try a tenth of --lr",
    }
    print(f"sanity check: {answer}, loss {loss:.4g} after {step + 1} steps; {advice[answer]}")
    return {"overfit": answer, "loss": loss if math.isfinite(loss) else None}


def constant_loss(loss_function, outputs, y):
    """The loss on a batch of the best constant predictor, its class priors or its mean; outputs: the model's."""
    if y.is_floating_point():
        constant = y.mean(dim=0)
    else:
        constant = torch.bincount(y, minlength=outputs.shape[1]).to(outputs.dtype).div(len(y)).clamp(min=1e-30).log()
    return loss_function(constant.expand_as(outputs), y).flatten()[0].item()


SEVERAL = 5  # epochs in a row before a warning
# range of the validation loss as a multiple of the constant predictor's; the write-up's step 5c stays at 1.02
AT_PRIOR = (0.98, 1.05)
# the training loss is at least this multiple of it; an overfitted network, which has learnt something, is far below
NOT_LEARNT = 0.85
FLAT = 0.05  # std of the predictions as a fraction of the labels'; nearly 0 for a network that predicts the mean


def watch_training(history, val, references):
    """Warns, once in a run, when the loss has stayed at a constant predictor's, or the predictions have collapsed.

    history: [{train_loss, val_loss, ...}], the epoch just ended as its last, which gets one entry more: `spread` of the
    validation predictions, the number of classes among them, or their std as a fraction of the labels', the smallest of
    several axes. val: the Evaluation of the validation clips. references: {name: loss}, the constant predictor's last.
    The same history gives the same warnings, however often the run was interrupted.
    """
    name, prior = list(references.items())[-1]
    classify = not val.targets.is_floating_point()
    if classify:
        spread = len(val.outputs.argmax(dim=1).unique())
    else:
        predicted, true = val.outputs.std(dim=0, correction=0), val.targets.std(dim=0, correction=0)
        spread = (predicted / true.clamp(min=1e-9)).min().item()
    history[-1]["spread"] = spread
    at_prior = [
        AT_PRIOR[0] * prior <= epoch["val_loss"] <= AT_PRIOR[1] * prior and epoch["train_loss"] >= NOT_LEARNT * prior
        for epoch in history
    ]
    collapsed = [epoch["spread"] == 1 if classify else epoch["spread"] < FLAT for epoch in history]
    if first_time(at_prior):
        stays = f"for {SEVERAL} epochs the validation loss has been a constant predictor's ({name}, {prior:.4f})"
        print(f"warning    : {stays}: it learns little or nothing; try a higher --lr, or --overfit-batch")
    if first_time(collapsed):
        what = "every validation clip gets the same class" if classify else "predictions hardly differ between clips"
        which = " on one axis at least" if val.targets.dim() > 1 else ""
        print(
            f"warning    : for {SEVERAL} epochs {what}{which}, like a constant predictor; a higher --lr usually helps"
        )


def first_time(signs):
    """Are the last SEVERAL of these booleans the first so many in a row that are all true?"""
    runs = [all(signs[end - SEVERAL : end]) for end in range(SEVERAL, len(signs) + 1)]
    return bool(runs) and runs[-1] and not any(runs[:-1])


def warn_of_overlap(trained, test_set, words):
    """Prints how many test clips have the id, or under another id the content, of a clip that a network was trained with.

    trained: its metadata. Equal ids are usually, but not surely, equal songs.
    """
    shared = set(trained["train_ids"]) & set(clip_ids(test_set))
    if shared:
        count = f"{len(shared)} of the {len(test_set)} test clips"
        print(f"             WARNING: {count} {words} (by id), for example '{min(shared)}'")
    warn_of_copies(trained, test_set, f"test clips {words}")


def warn_of_copies(trained, dataset, words):
    """Prints how many clips have the content of a clip under another id that a network was trained with."""
    known = dict(zip(trained.get("train_checksums", []), trained["train_ids"], strict=False))
    rows = zip(clip_checksums(dataset), clip_ids(dataset), strict=False) if known else []
    ids = set(trained["train_ids"])
    copies = [f"'{ident}' is '{known[value]}'" for value, ident in rows if value in known and ident not in ids]
    if copies:
        print(f"             WARNING: {len(copies)} of the {len(dataset)} {words} (by content): {min(copies)}")


def warn_of_pretraining(metadata, pretrained, splits):
    """Warns of validation and test clips with the content of clips of pretraining, and adds their checksums to a run's."""
    warn_of_copies(pretrained, splits[1], "validation clips were used to train the genre CNN")
    warn_of_copies(pretrained, splits[2], "test clips were used to train the genre CNN")
    metadata["train_checksums"] += pretrained.get("train_checksums", [])


def warn_of_repeated(*datasets):
    """Prints how many clips have the content of another one, as when a file stands under two ids or in two genres."""
    found: dict = {}
    for each in filter(None, datasets):
        for value, *clip in zip(clip_checksums(each), clip_ids(each), clip_labels(each).tolist(), strict=False):
            found.setdefault(value, []).append(clip)
    groups = [group for group in found.values() if len(group) > 1]
    unlike = [group for group in groups if any(label != group[0][1] for _, label in group)]
    if groups:
        (first, _), (other, _), *_ = (unlike or groups)[0]
        count = f"{sum(map(len, groups))} clips to train or validate with are equal in content to another one"
        labels = f", {sum(map(len, unlike))} of them with another label" * bool(unlike)
        print(f"             WARNING: {count}{labels}, for example '{first}' and '{other}'")


def clip_checksums(dataset):
    """A checksum of each clip's frames, in half precision, in the dataset's order; the cache has them already."""
    base, indices = unwrap(dataset)
    clips = getattr(base, "clips", None)
    if clips is None:  # another dataset than ours
        return []
    known = getattr(clips, "checksum", None) or (lambda ident: checksum(np.ascontiguousarray(clips[ident])))
    return [known(base.ids[index]) for index in indices]


def print_finite(run, history):
    """After a dry run: whether all of its losses are finite."""
    if run.metadata["mode"] == "quick":
        finite = all(math.isfinite(epoch[loss]) for epoch in history for loss in ("train_loss", "val_loss"))
        answer = "runs, every loss is finite" if finite else "non-finite, a loss is no number; a lower --lr helps"
        print(f"dry run    : {answer}")

"""What is amiss while a network trains, said as soon as it shows: a loss that sits where a constant answer's does, equal predictions."""

SEVERAL = 5  # epochs in a row before anything is said
AT_PRIOR = (0.98, 1.05)  # validation loss, as a share of the constant answer's; the write-up's step 5c stays at 1.02
NOT_LEARNT = 0.85  # of it: the least training loss with that; an overfitted network passes the constant's in validation, far below here
FLAT = 0.05  # the predictions' deviation as a share of the labels'; of a network that says the mean it is hardly anything


def watch_training(history, val, references):
    """Prints one sentence each, once in a run, when over the last epochs the loss has not left the prior, or predictions have collapsed.

    history: [{train_loss, val_loss, ...}] with the epoch just ended as its last, which gets one entry more: `spread`, of the validation
    predictions: the number of classes among them, or their deviation as a share of the labels', the smallest where there are several axes.
    val: the Evaluation of the validation clips. references: {name: loss}, the constant answer's last.
    Says the same of the same history, however often the run was interrupted.
    """
    name, prior = list(references.items())[-1]
    classify = not val.targets.is_floating_point()
    if classify:
        spread = len(val.outputs.argmax(dim=1).unique())
    else:
        spread = (val.outputs.std(dim=0, correction=0) / val.targets.std(dim=0, correction=0).clamp(min=1e-9)).min().item()
    history[-1]["spread"] = spread
    at_prior = [
        AT_PRIOR[0] * prior <= epoch["val_loss"] <= AT_PRIOR[1] * prior and epoch["train_loss"] >= NOT_LEARNT * prior for epoch in history
    ]
    collapsed = [epoch["spread"] == 1 if classify else epoch["spread"] < FLAT for epoch in history]
    if first_time(at_prior):
        print(
            f"verdict    : for {SEVERAL} epochs the validation loss has sat at that of a constant answer ({name}, {prior:.4f}): while it "
            "stays there, little or nothing is learnt; a higher --lr, or --overfit-batch to see whether it can learn at all"
        )
    if first_time(collapsed):
        what = "every validation clip gets the same class" if classify else "predictions hardly differ from clip to clip"
        which = " on one axis at least" if val.targets.dim() > 1 else ""
        print(f"verdict    : for {SEVERAL} epochs {what}{which}, as a constant answer would have it; a higher --lr usually helps")


def first_time(signs):
    """Are the last SEVERAL of these booleans the first so many in a row that are all true?"""
    runs = [all(signs[end - SEVERAL : end]) for end in range(SEVERAL, len(signs) + 1)]
    return bool(runs) and runs[-1] and not any(runs[:-1])

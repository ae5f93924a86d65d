"""The pictures of the lab. Every function returns a matplotlib Figure of its own and touches no global state."""

import io

import numpy as np


def new_figure(width, height, rows=1, columns=1, **options):
    """(Figure, array of Axes (rows, columns)), size in inches; without pyplot, so that nothing has to be closed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def png(figure):
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def confusion_figure(confusion, classes, title):
    """A confusion matrix (C, C) of counts: rows true, columns predicted; colour is the fraction of the true class."""
    counts = np.asarray(confusion)
    inches = max(5.5, 0.62 * len(classes) + 2)
    figure, axes = new_figure(inches + 0.8, inches)
    ax = axes[0, 0]
    recall = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(recall, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        colour = "white" if recall[row, column] > 0.5 else "black"
        ax.text(column, row, counts[row, column], ha="center", va="center", color=colour)
    # a genre's name is text, even with a dollar sign in it
    ax.set_xticks(range(len(classes)), classes, rotation=45, ha="right", parse_math=False)
    ax.set_yticks(range(len(classes)), classes, parse_math=False)
    ax.set(xlabel="predicted genre", ylabel="true genre", title=title)
    figure.colorbar(image, ax=ax, shrink=0.8, label="fraction of the true genre's clips")
    return figure


def curves_figure(history, loss_name, references, title, best_epoch, rule="picked by validation"):
    """Learning curves of [{epoch, train_loss, val_loss, val_acc}]: losses, and validation accuracy if there is one.

    references: {name: loss} of constant predictors, drawn as horizontal lines; best_epoch is marked, by this rule.
    """
    panels = 2 if "val_acc" in history[0] else 1
    figure, axes = new_figure(6 * panels, 4, 1, panels)
    epochs = [row["epoch"] for row in history]
    left = axes[0, 0]
    left.plot(epochs, [row["train_loss"] for row in history], marker=".", label="training")
    left.plot(epochs, [row["val_loss"] for row in history], marker=".", label="validation")
    for style, (name, value) in zip(("--", ":"), references.items(), strict=False):
        left.axhline(value, linestyle=style, color="grey", linewidth=1, label=f"{name}, {value:.4g}")
    left.set(xlabel="epoch", ylabel=f"mean {loss_name} per clip", title=title)
    if panels == 2:
        right = axes[0, 1]
        right.plot(epochs, [100 * row["val_acc"] for row in history], marker=".", color="C1", label="validation")
        right.set(xlabel="epoch", ylabel="accuracy (%)", title="accuracy in validation set")
    for ax in axes[0]:
        ax.axvline(best_epoch, color="green", linewidth=1, alpha=0.6, label=f"best epoch, {best_epoch}: {rule}")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(fontsize=8)
        ax.grid(alpha=0.3)
    return figure


def scatter_figure(true, predicted, axis, rho, title):
    """Predictions (n,) against true values (n,) of one axis, with the identity line; rho: None where undefined."""
    figure, axes = new_figure(5, 5)
    ax = axes[0, 0]
    ax.scatter(true, predicted, s=14, alpha=0.6)
    low, high = min(0, *true, *predicted), max(1, *true, *predicted)
    ax.plot([low, high], [low, high], color="grey", linewidth=1, label="identity")
    ax.set(xlim=(low, high), ylim=(low, high), xlabel=f"true {axis} (0 to 1)", ylabel=f"predicted {axis}")
    rho_text = "undefined" if rho is None else f"{rho:.3f}"
    ax.set_title(f"{title}: Spearman {rho_text}, {len(true)} test clips", fontsize=10)
    ax.legend(fontsize=8)
    ax.grid(alpha=0.3)
    return figure

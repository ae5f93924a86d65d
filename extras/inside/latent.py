"""What a backbone's features of clips look like: in all their numbers, and in two by PCA and by t-SNE."""

from typing import NamedTuple

import numpy as np
import torch

from common.metrics import spearman
from common.plots import new_figure

NEIGHBOURS = 5
PERPLEXITY = 30  # of t-SNE, scikit-learn's default; less for few clips
PARTS = ("low", "middle", "high")  # thirds of an axis, by its values, for the silhouette


class Spaces(NamedTuple):
    """The same clips as points (n, d): all features, standardised, and two numbers each by PCA and by t-SNE."""

    full: np.ndarray
    pca: np.ndarray
    tsne: np.ndarray


@torch.inference_mode()
def features_of(backbone, loader, device="cpu"):
    """A backbone's features of a loader's clips, (n, feature_size) float64, in evaluation mode, in the loader's order."""
    backbone.to(device).eval()
    parts = [backbone(x.to(device), lengths.to(device)).double().cpu() for x, _, lengths in loader]
    return torch.cat(parts).numpy()


def spaces_of(features, seed):
    """The Spaces of features (n, d); features that are equal for all clips are left out, n from 4 on."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    spread = features.std(axis=0)
    kept = spread > 1e-12 * max(1.0, np.abs(features).max())
    full = (features[:, kept] - features[:, kept].mean(axis=0)) / spread[kept]
    if full.shape[1] < 2:
        full = np.hstack([full, np.zeros((len(full), 2 - full.shape[1]))])
    pca = PCA(2, random_state=seed).fit_transform(full)
    perplexity = min(PERPLEXITY, (len(full) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(full)
    return Spaces(full, pca, tsne.astype(float))


def neighbour_score(points, targets):
    """How well a clip's NEIGHBOURS nearest others predict it: accuracy of their most frequent class, or correlation.

    points: (n, d); targets: class numbers (n,) int, of equal votes the smallest wins, or values (n,) float, Spearman's
    correlation with the neighbours' mean, None where that is undefined. The clip itself is no neighbour.
    """
    from sklearn.neighbors import NearestNeighbors

    count = min(NEIGHBOURS, len(points) - 1)
    nearest = NearestNeighbors(n_neighbors=count).fit(points).kneighbors(return_distance=False)
    if targets.dtype.kind == "f":
        return spearman(targets, targets[nearest].mean(axis=1))
    votes = np.array([np.bincount(row, minlength=targets.max() + 1).argmax() for row in targets[nearest]])
    return float((votes == targets).mean())


def silhouette(points, groups):
    """The mean silhouette (Rousseeuw 1987), -1 to 1, of points (n, d) in groups (n,); None where it is undefined.

    Above 0 a clip lies nearer to its own group than to the nearest other one, on average.
    """
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(points, groups)) if 1 < len(set(groups.tolist())) < len(groups) else None


def thirds(values):
    """The number of each value's third, 0 to 2, by rank: values (n,) -> (n,) int."""
    return np.argsort(np.argsort(values, kind="stable"), kind="stable") * len(PARTS) // len(values)


def scores_of(points, targets):
    """{"neighbours": neighbour_score, "silhouette": silhouette} of points by classes, or by thirds of an axis's values."""
    groups = thirds(targets) if targets.dtype.kind == "f" else targets
    return {"neighbours": neighbour_score(points, targets), "silhouette": silhouette(points, groups)}


def latent_figure(title, rows, targets, names):
    """Scatter plots of [(text, Spaces)], a row each, PCA on the left and t-SNE on the right, coloured by the targets.

    names: of the classes, or the axis alone.
    """
    figure, axes = new_figure(13, 5.2 * len(rows), len(rows), 2)
    figure.suptitle(title, parse_math=False)
    for row, (text, spaces) in zip(axes, rows, strict=True):
        for ax, what, points in zip(row, ("PCA", "t-SNE"), spaces[1:], strict=True):
            draw_points(ax, points, targets, names)
            ax.set_title(f"{what}, {text}", fontsize=10)
            ax.set(xlabel=f"{what} 1", ylabel=f"{what} 2", xticks=[], yticks=[])
    if targets.dtype.kind == "f":
        figure.colorbar(axes[0, 0].collections[0], ax=axes, label=f"{names[0]} (0 to 1)", pad=0.01)
    else:
        handles, labels = axes[0, 0].get_legend_handles_labels()
        legend = figure.legend(handles, labels, loc="outside right center", fontsize=9)
        for label in legend.get_texts():
            label.set_parse_math(False)
    return figure


def draw_points(ax, points, targets, names):
    """Points (n, 2), with a colour and a marker for each class, or coloured by value."""
    if targets.dtype.kind == "f":
        ax.scatter(*points.T, c=targets, cmap="viridis", vmin=0, vmax=1, s=18)
    else:
        markers = "osD^vP*X<>"
        for number, name in enumerate(names):
            style = {"color": f"C{number % 10}", "marker": markers[number % len(markers)]}
            ax.scatter(*points[targets == number].T, s=18, label=name, **style)
    ax.margins(0.05)

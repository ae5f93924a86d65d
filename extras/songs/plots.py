"""The figure of one song: its spectrogram, its genre over time, and the region that the prediction depends on most."""

import itertools

import numpy as np

from common.plots import new_figure
from common.spectrogram_plots import FRAME_SECONDS, draw_mel
from extras.inside.plots import draw_drops, frame_of

MOST_FRAMES = 50_000  # that are drawn of a song; of 20 minutes and more every second frame, or fewer
SHOWN_GENRES = 5  # in the middle panel; more lines would be hard to distinguish


def song_figure(frames, starts, length, probabilities, classes, regions, most, title):
    """Two panels over the whole song, and below them one window, which dashed lines mark above.

    frames (T, 140): mel in dB, and chroma. starts: first frames of the windows of `length` frames. probabilities
    (n, C): in each window. classes: C names. regions: [Region] of the one window, in frames of the song; most: the
    region with the largest drop.
    """
    figure, axes = new_figure(13, 10, 3, 1, gridspec_kw={"height_ratios": [1, 0.8, 1]})
    top, middle, bottom = axes[:, 0]
    shown = frames[:: 1 + len(frames) // MOST_FRAMES]
    image = draw_mel(top, np.maximum(shown - shown[:, :-12].max(), -80), title)
    image.set_extent((-0.5 * FRAME_SECONDS, (len(frames) - 0.5) * FRAME_SECONDS, *image.get_extent()[2:]))
    figure.colorbar(image, ax=top, label="dB re song maximum", pad=0.01)
    draw_genres(middle, starts, length, probabilities, classes)
    decision = classes[probabilities.mean(axis=0).argmax()]
    draw_drops(figure, bottom, regions, decision)
    for ax, colour in ((top, "white"), (bottom, "black")):
        ax.add_patch(frame_of(most, colour))
    inside = [
        (edge - 0.5) * FRAME_SECONDS
        for edge in (regions[0].frames.start, max(region.frames.stop for region in regions))
    ]
    bottom.set_xlim(*inside)
    middle.set(xlim=top.get_xlim(), xlabel="time (s)")
    for (ax, colour), edge in itertools.product(((top, "white"), (middle, "black")), inside if len(starts) > 1 else ()):
        ax.axvline(edge, color=colour, linestyle="--", linewidth=1)
    return figure


def draw_genres(ax, starts, length, probabilities, classes):
    """The likeliest genres' probabilities at the middle of each window; a single window as a level line."""
    order = probabilities.mean(axis=0).argsort()[::-1][:SHOWN_GENRES]
    times = (np.array(starts) + (length - 1) / 2) * FRAME_SECONDS
    if len(starts) == 1:
        times = np.array([starts[0], starts[0] + length - 1]) * FRAME_SECONDS
        probabilities = np.repeat(probabilities, 2, axis=0)
    for number in order:
        marker = "o" if len(starts) > 1 else ""
        ax.plot(times, probabilities[:, number], marker=marker, markersize=3, label=classes[number])
    ax.set(ylim=(-0.02, 1.25), yticks=np.linspace(0, 1, 6), ylabel="probability")  # with room for the legend
    several = f"genre over time, in windows of {length * FRAME_SECONDS:.0f} s"
    ax.set_title(several if len(starts) > 1 else "genre, in one window", fontsize=10)
    for text in ax.legend(fontsize=8, loc="upper center", ncols=SHOWN_GENRES).get_texts():
        text.set_parse_math(False)  # a genre may have dollar signs in its name
    ax.grid(alpha=0.3)

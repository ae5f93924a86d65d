"""The pictures of step 1: mel spectrograms and chromagrams, full and beat-synced, and how many clips each genre has.

Clips are [(title, (T, 140) frames, (B, 140) beats)], with at least one frame and one beat.
"""

import math

import numpy as np

from common.features import HOP_LENGTH, N_MELS, NOTES, SAMPLE_RATE
from common.plots import new_figure

FRAME_SECONDS = HOP_LENGTH / SAMPLE_RATE
MEL_TICKS = (128, 256, 512, 1024, 2048, 4096, 8192)  # Hz
QUIETEST = -80.0  # dB, where the course's extractor cuts off


def mel_of(hertz):
    """A frequency on the mel scale of Slaney's Auditory Toolbox (1998), librosa's default.

    200/3 Hz a mel up to 1000 Hz, which is 15 mel; above that 27 mel make a factor of 6.4.
    """
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def mel_band_of(hertz):
    """The mel band, with a fraction, whose centre lies at a frequency.

    librosa.filters.mel: band k has its peak at the (k+1)-th of 130 points that lie evenly in mel from 0 (the 0-th) to
    half the sample rate.
    """
    return mel_of(hertz) / mel_of(SAMPLE_RATE / 2) * (N_MELS + 1) - 1


def mel_figure(clips):
    """Step 1: the mel spectrograms of the clips at full length, one below the other."""
    figure, axes = new_figure(11, 3.8 * len(clips), len(clips))
    for (ax,), (label, full, _) in zip(axes, clips, strict=True):
        image = draw_mel(ax, full, f"{label}\nmel spectrogram, {len(full)} frames")
    figure.colorbar(image, ax=axes, label="dB re clip maximum")
    return figure


def mel_beat_figure(clips):
    """Step 2: the mel spectrograms at full length on the left, beat-synced on the right."""
    return pair_figure(clips, draw_mel, "mel", "dB re clip maximum")


def chroma_figure(clips):
    """Step 3: the chromagrams at full length on the left, beat-synced on the right."""
    return pair_figure(clips, draw_chroma, "chroma", "strength of the note (each frame's largest = 1 before syncing)")


def pair_figure(clips, draw, what, unit):
    figure, axes = new_figure(13, 3.8 * len(clips), len(clips), 2)
    for (left, right), (label, full, beat) in zip(axes, clips, strict=True):
        draw(left, full, f"{label}\n{what}, {len(full)} frames")
        image = draw(right, beat, f"{label}\n{what}, beat-synced, {len(beat)} beats", beats=True)
    figure.colorbar(image, ax=axes, label=unit)
    return figure


def draw_mel(ax, clip, title, beats=False):
    """The mel spectrogram of a clip (T, 140) on an axis in Hz; colours span -80..0 dB in every picture."""
    # a full clip has more frames than the picture has pixels: matplotlib's default averages them
    smoothing = "nearest" if beats else None
    image = draw_bands(ax, clip[:, :N_MELS], title, beats, cmap="magma", vmin=QUIETEST, vmax=0, interpolation=smoothing)
    ax.set_yticks([mel_band_of(hertz) for hertz in MEL_TICKS], [str(hertz) for hertz in MEL_TICKS], fontsize=8)
    ax.set_ylabel("frequency (Hz, mel scale)")
    return image


def draw_chroma(ax, clip, title, beats=False):
    """The chromagram of a clip (T, 140), one bin for each note."""
    image = draw_bands(ax, clip[:, N_MELS:], title, beats, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    ax.set_yticks(range(len(NOTES)), NOTES, fontsize=8)
    ax.set_ylabel("note")
    return image


def draw_bands(ax, bands, title, beats, **colours):
    """(T, F) as a picture with time to the right and F upwards; the time axis in seconds, or in beats."""
    step = 1 if beats else FRAME_SECONDS
    extent = (-0.5 * step, (len(bands) - 0.5) * step, -0.5, bands.shape[1] - 0.5)  # a frame's middle is at its time
    image = ax.imshow(np.asarray(bands, dtype=np.float32).T, origin="lower", aspect="auto", extent=extent, **colours)
    ax.set_title(title, fontsize=10, parse_math=False)  # a genre may have dollar signs in its name
    ax.set_xlabel("beat" if beats else "time (s)")
    if beats:
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return image


def histograms_figure(genre_counts, class_mapping):
    """Step 4c: clips per genre before the mapping, with those that it drops in grey, and clips per class after it.

    genre_counts: {genre: clips}; class_mapping: {genre: class, None where it is dropped}.
    """
    genres = sorted(genre_counts)
    figure, (axes,) = new_figure(13, max(3.5, 0.28 * len(genres) + 1.5), 1, 2, sharex=True)
    class_counts = count_classes(genre_counts, class_mapping)
    dropped = [class_mapping[genre] is None for genre in genres]
    names = [
        genre if class_mapping[genre] in (genre, None) else f"{genre} → {class_mapping[genre]}" for genre in genres
    ]
    draw_bars(axes[0], names, [genre_counts[genre] for genre in genres], ["0.7" if gone else "C0" for gone in dropped])
    axes[0].set_ylabel("genre")
    grey = f", {sum(dropped)} dropped (grey)" if any(dropped) else ""
    axes[0].set_title(f"before the mapping: {len(genres)} genres{grey}", fontsize=10)
    draw_bars(axes[1], list(class_counts), list(class_counts.values()), "C0")
    axes[1].set_ylabel("class")
    axes[1].set_title(f"after the mapping: {len(class_counts)} classes", fontsize=10)
    return figure


def count_classes(genre_counts, class_mapping):
    """{class: clips} by name from {genre: clips}, without the genres that the mapping drops."""
    classes = sorted({class_mapping[genre] for genre in genre_counts} - {None})
    return {
        name: sum(count for genre, count in genre_counts.items() if class_mapping[genre] == name) for name in classes
    }


def draw_bars(ax, names, counts, colours):
    """Horizontal bars, so that long names stay readable, from the top down, with the counts at their ends."""
    bars = ax.barh(range(len(names)), counts, color=colours)
    ax.bar_label(bars, fontsize=8, padding=2)
    ax.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
    ax.invert_yaxis()
    ax.margins(x=0.1, y=0.02)
    ax.set_xlabel("training clips")
    ax.xaxis.get_major_locator().set_params(integer=True)

"""The figures of step 7a: activations and gradients of layers, their filters, and the regions behind a decision.

Tiles are small pictures of one size, (rows, columns, h, w), drawn in a grid with one colour bar.
"""

import numpy as np

from common.features import N_MELS
from common.plots import new_figure
from common.spectrogram_plots import FRAME_SECONDS, MEL_TICKS, draw_mel, mel_band_of
from extras.inside.measure import occlusion_map, shape_text

TILES_ACROSS = 8  # channels in a row of the activations' figure


def layers_figure(layers):
    """Activations on the left, gradients on the right, a row for each layer of {name: Inside}.

    Maps are drawn as tiles, vectors as bars.
    """
    outputs = [inside.activation for inside in layers.values()]
    heights = [1.3 if output.dim() == 1 else 0.5 + 0.8 * tile_rows(output) for output in outputs]
    figure, axes = rows_of_two(heights, 0.4)
    for row, (name, inside) in zip(axes, layers.items(), strict=True):
        for ax, what, values in zip(row, ("activation", "activation gradient"), inside, strict=True):
            title = f"{name} ({shape_text(values.shape)}): {what}s"
            if values.dim() == 1:
                draw_class_bars(ax, values.numpy(), title, what)
            else:
                draw_tiles(figure, ax, in_rows(values.numpy()), title, what != "activation", counted=True)
                ax.set_xlabel("channel: the row's number plus the column's", fontsize=8)
    return figure


def rows_of_two(heights, gap):
    """(Figure, axes (n, 2)) of n rows of these heights, with `gap` inches more for each."""
    height = sum(heights) + gap * len(heights)
    return new_figure(15, height, len(heights), 2, gridspec_kw={"height_ratios": heights})


def tile_rows(maps):
    return -(-len(maps) // TILES_ACROSS)


def in_rows(maps):
    """Maps (C, H, W) as (rows, TILES_ACROSS, H, W), the last row filled with NaN; fewer maps are one shorter row."""
    across = min(TILES_ACROSS, len(maps))
    rows = np.full((-(-len(maps) // across) * across, *maps.shape[1:]), np.nan)
    rows[: len(maps)] = maps
    return rows.reshape(-1, across, *maps.shape[1:])


def draw_tiles(figure, ax, tiles, title, symmetric, counted=False):
    """Tiles (rows, columns, h, w) on one axis with a colour bar.

    symmetric: colours around 0, which is white; counted: the rows are one list of tiles, and the tick of a row is the
    number of its first tile.
    """
    rows, columns, height, width = tiles.shape
    page = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)  # the gaps stay NaN, drawn in grey
    for row, column in np.ndindex(rows, columns):
        top, left = row * (height + 1), column * (width + 1)
        page[top : top + height, left : left + width] = tiles[row, column]
    limit = np.nanmax(np.abs(page)) or 1.0
    colours = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if symmetric else {"cmap": "viridis"}
    ax.set_facecolor("0.75")
    image = ax.imshow(page, interpolation="nearest", **colours)
    across, down = ((size + 1) * np.arange(n) + (size - 1) / 2 for size, n in ((width, columns), (height, rows)))
    ax.set_xticks(across, range(columns), fontsize=7)
    ax.set_yticks(down, np.arange(rows) * (columns if counted else 1), fontsize=7)
    ax.tick_params(length=0)
    ax.set_title(title, fontsize=9)
    width = max(1, TILES_ACROSS / columns)  # the bar's width is a fraction of the page's, which is narrow for few tiles
    bar = figure.colorbar(image, cax=ax.inset_axes([1 + 0.01 * width, 0, 0.015 * width, 1]))
    bar.ax.tick_params(labelsize=7)
    bar.ax.yaxis.get_offset_text().set_fontsize(7)


def draw_class_bars(ax, values, title, what):
    """A bar for each class, values (C,)."""
    ax.bar(range(len(values)), values, color="C0")
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set_xticks(range(len(values)), range(len(values)), fontsize=7)
    ax.tick_params(axis="y", labelsize=7)
    ax.set_xlabel("digit", fontsize=8)
    ax.set_ylabel(what, fontsize=8)
    ax.set_title(title, fontsize=9)


def filter_tiles(name, layer, maps=None, spectrogram=False):
    """(name, weights as tiles, gradients as tiles, x label, y label) of a layer, for weights_figure.

    A convolution has a column for each filter and a row for each input channel. A linear layer has a row for each
    output and a column for each channel of its input, maps (C, h, w). spectrogram: filters with one input channel,
    drawn in rows, time to the right and mel bands upwards.
    """
    pair = [layer.weight.detach(), layer.weight.grad]
    if maps:
        return name, *(each.reshape(-1, *maps).numpy() for each in pair), "channel", "output"
    pair = [each.transpose(0, 1) for each in pair]  # (filters, channels, h, w) -> (channels, filters, h, w)
    if not spectrogram:
        return name, *(each.numpy() for each in pair), "filter", "channel"
    time, bands = layer.kernel_size
    pair = [
        in_rows(each[0].transpose(1, 2).flip(1).numpy()) for each in pair
    ]  # (filters, time, bands) -> (..., bands, time)
    label = f"filter: the row's number plus the column's; {time} frames to the right, {bands} mel bands upwards"
    return name, *pair, label, ""


def weights_figure(layers):
    """Weights on the left and their gradients on the right, a row for each layer.

    layers: [(name, weights, gradients, x label, y label)] as of filter_tiles; without a y label the tiles are one list
    in rows.
    """
    sizes = [tiles_shape(tiles) for _, tiles, *_ in layers]
    heights = [0.5 + max(0.5, 6 * height / width) for height, width in sizes]
    figure, axes = rows_of_two(heights, 0.5)
    for row, (name, weights, gradients, across, down) in zip(axes, layers, strict=True):
        for ax, what, tiles in zip(row, ("weights", "weight gradients"), (weights, gradients), strict=True):
            draw_tiles(figure, ax, tiles, f"{name}: {what}", symmetric=True, counted=not down)
            ax.set_xlabel(across, fontsize=8)
            ax.set_ylabel(down, fontsize=8)
    return figure


def tiles_shape(tiles):
    """(height, width) in pixels of tiles (rows, columns, h, w) with a gap after each."""
    rows, columns, height, width = tiles.shape
    return rows * (height + 1), columns * (width + 1)


def stages_figure(clip, stages, shown, title):
    """The clip's mel spectrogram, and below it for each stage the channels of the largest mean activation.

    clip: (T, F) in dB; stages: [(name, activations (C, T', F'))], each at half the resolution of the one before; shown:
    the number of channels of each.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 2.3 * (1.5 + len(stages))), layout="constrained")
    grid = figure.add_gridspec(1 + len(stages), shown, height_ratios=[1.5, *[1] * len(stages)])
    figure.suptitle(title, parse_math=False)  # a genre may have dollar signs in its name
    top = figure.add_subplot(grid[0, :])
    figure.colorbar(draw_mel(top, clip, "the clip"), ax=top, label="dB re clip\nmaximum", pad=0.01)
    for number, (name, activations) in enumerate(stages, start=1):
        strongest = np.argsort(-activations.mean(axis=(1, 2)))[:shown]
        row = []
        for column, channel in enumerate(strongest):
            ax = figure.add_subplot(grid[number, column])
            image = draw_cells(ax, activations[channel], 2**number, activations[strongest].max() or 1.0)
            ax.set_title(f"{name}, channel {channel}", fontsize=9)
            ax.set_xlabel("time (s)", fontsize=8)
            ax.set_ylabel("mel band" if column == 0 else "", fontsize=8)
            ax.tick_params(labelsize=7)
            row.append(ax)
        figure.colorbar(image, ax=row, label="activation", pad=0.01)
    return figure


def draw_cells(ax, values, size, high):
    """A stage's activations (T', F') over seconds and mel bands; a cell covers `size` frames by `size` bands."""
    from matplotlib.colors import PowerNorm

    frames, bands = (size * count for count in values.shape)
    extent = (-0.5 * FRAME_SECONDS, (frames - 0.5) * FRAME_SECONDS, -0.5, bands - 0.5)
    norm = PowerNorm(0.5, 0, high)  # a square root, or a few large values at the edges would leave the rest dark
    return ax.imshow(
        values.T, origin="lower", aspect="auto", extent=extent, cmap="viridis", norm=norm, interpolation="nearest"
    )


def evidence_figure(clip, regions, framed, heat, decision, title):
    """The clip's mel spectrogram above the maps of occlusion and of Grad-CAM, with one window framed in all three.

    clip: (T, F) in dB; regions: [Region] of all windows of occlusion; framed: one of them; heat: Grad-CAM's map (T, F);
    decision: name of the class.
    """
    figure, axes = new_figure(12, 12, 3, 1)
    (top,), (middle,), (bottom,) = axes
    figure.colorbar(draw_mel(top, clip, title), ax=top, label="dB re clip maximum", pad=0.01)
    draw_drops(figure, middle, regions, decision)
    draw_heat(figure, bottom, heat, decision)
    for ax, colour in ((top, "white"), (middle, "black"), (bottom, "white")):
        ax.add_patch(frame_of(framed, colour))
    return figure


def draw_heat(figure, ax, heat, decision):
    """Grad-CAM's map (T, F) over seconds and frequencies, with its colour bar."""
    extent = (-0.5 * FRAME_SECONDS, (len(heat) - 0.5) * FRAME_SECONDS, -0.5, N_MELS - 0.5)
    image = ax.imshow(heat.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=0)
    ax.set_title(f"Grad-CAM of the last stage for '{decision}'", fontsize=10, parse_math=False)
    ax.set_yticks([mel_band_of(hertz) for hertz in MEL_TICKS], [str(hertz) for hertz in MEL_TICKS], fontsize=8)
    ax.set(xlabel="time (s)", ylabel="frequency (Hz, mel scale)")
    figure.colorbar(image, ax=ax, label="evidence (logit per activation)", pad=0.01)


def draw_drops(figure, ax, regions, decision):
    """The map of the drops of occlusion, [Region], with its colour bar; empty where there was no window."""
    drops = occlusion_map(regions).numpy()
    limit = np.nanmax(np.abs(drops)) or 1.0
    extent = (-0.5 * FRAME_SECONDS, (len(drops) - 0.5) * FRAME_SECONDS, -0.5, N_MELS - 0.5)
    colours = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    image = ax.imshow(drops.T, origin="lower", aspect="auto", extent=extent, **colours)
    title = f"effect of hiding a region on '{decision}' (red: evidence for the class, blue: against it)"
    ax.set_title(title, fontsize=10, parse_math=False)
    ax.set_yticks([mel_band_of(hertz) for hertz in MEL_TICKS], [str(hertz) for hertz in MEL_TICKS], fontsize=8)
    ax.set(xlabel="time (s)", ylabel="frequency (Hz, mel scale)")
    figure.colorbar(image, ax=ax, label="mean drop of the log-probability (nats)", pad=0.01)


def frame_of(region, colour):
    """The outline of a Region on axes of seconds and mel bands."""
    from matplotlib.patches import Rectangle

    (start, stop), (low, high) = ((part.start - 0.5, part.stop - 0.5) for part in (region.frames, region.bands))
    corner, width = (start * FRAME_SECONDS, low), (stop - start) * FRAME_SECONDS
    return Rectangle(corner, width, high - low, fill=False, edgecolor=colour, linewidth=1.5)

"""What the tuned recipe does to a batch before the network sees it: other pieces, another sound, another mixture, the same song."""

import torch
from torch import nn


class Augment:
    """augment(x, y, lengths) -> the same, changed at random: x (B, T, F), y (B,) classes or (B, axes) values, lengths (B,).

    Classes come back as (B, num_classes) shares, since a mixture has two; num_classes is None where y holds values.

    crop: share of each clip's length that is left, a piece from anywhere in it; stretch: largest change of tempo, 0.2 for a fifth;
    curve_db: deviation of a smooth curve over the mel bands, as of another room or mastering; bands: how many of the F rows are mel bands;
    masks: largest share of the rows, and of the frames, that a mask covers; mixup: the Beta distribution's parameter, 0 for none;
    fill: (F,) what stands under a mask.
    """

    def __init__(self, fill, bands, crop=1.0, stretch=0.0, curve_db=0.0, masks=0.0, mixup=0.0, num_classes=None):
        self.fill, self.bands, self.num_classes = fill, bands, num_classes
        self.crop, self.stretch, self.curve_db, self.masks, self.mixup = crop, stretch, curve_db, masks, mixup

    def __call__(self, x, y, lengths):
        if self.num_classes:
            y = nn.functional.one_hot(y, self.num_classes).to(x.dtype)
        x, lengths = self.pieces(x, lengths)
        if self.curve_db and self.bands:
            x = torch.cat([x[:, :, : self.bands] + self.curves(x), x[:, :, self.bands :]], dim=2)
        if self.masks:
            x = self.masked(x)
        return self.mixed(x, y, lengths) if self.mixup else (x, y, lengths)

    def pieces(self, x, lengths):
        """A piece of each clip, read faster or slower: the batch's pieces have one length, the shortest clip's share of `crop`."""
        if self.crop == 1 and not self.stretch:
            return x, lengths  # whole clips, the longer ones too
        speed = (1 + self.stretch) ** (2 * torch.rand(()).item() - 1)
        taken = max(1, round(self.crop * lengths.min().item()))
        given = max(1, round(taken / speed))
        starts = (torch.rand(len(x), device=x.device) * (lengths - taken + 1)).long()
        places = torch.linspace(0, taken - 1, given, device=x.device).round().long()
        x = x[torch.arange(len(x), device=x.device)[:, None], starts[:, None] + places]
        return x, torch.full_like(lengths, given)

    def curves(self, x):
        """(B, 1, bands) dB: a smooth curve for each clip, through five random values."""
        knots = self.curve_db * torch.randn(len(x), 1, 5, device=x.device)
        return nn.functional.interpolate(knots, size=self.bands, mode="linear", align_corners=True)

    def masked(self, x):
        """One block of rows and one of frames of each clip behind `fill`."""
        for axis in (2, 1):
            size = x.shape[axis]
            width = torch.rand(len(x), 1, device=x.device) * self.masks * size
            start = torch.rand(len(x), 1, device=x.device) * (size - width)
            steps = torch.arange(size, device=x.device)
            hidden = (steps >= start) & (steps < start + width)
            x = torch.where(hidden[:, None, :] if axis == 2 else hidden[:, :, None], self.fill, x)
        return x

    def mixed(self, x, y, lengths):
        """Each clip with another one of the batch laid over it, targets likewise (H. Zhang et al., "mixup", 2018)."""
        other = torch.randperm(len(x), device=x.device)
        share = torch.distributions.Beta(self.mixup, self.mixup).sample((len(x),)).to(x.device)
        share = torch.maximum(share, 1 - share)
        mine = share.reshape(-1, *[1] * (y.dim() - 1))
        return x.lerp(x[other], (1 - share)[:, None, None]), mine * y + (1 - mine) * y[other], lengths

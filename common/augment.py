"""What the tuned recipe can do to a batch before the network sees it: pieces of the clips, masks, mixtures. Each is off by default."""

import torch
from torch import nn


class Augment:
    """augment(x, y, lengths) -> the same, changed at random: x (B, T, F), y (B,) classes or (B, axes) values, lengths (B,).

    Classes come back as (B, num_classes) shares, since a mixture has two; num_classes is None where y holds values.

    fill: (F,) what stands under a mask; crop: share of each clip's length that is left, a piece from anywhere in it; masks: largest share
    of the rows, and of the frames, that a mask covers; mixup: the Beta distribution's parameter, 0 for none.
    """

    def __init__(self, fill, crop=1.0, masks=0.0, mixup=0.0, num_classes=None):
        self.fill, self.crop, self.masks, self.mixup, self.num_classes = fill, crop, masks, mixup, num_classes

    def __call__(self, x, y, lengths):
        if self.num_classes:
            y = nn.functional.one_hot(y, self.num_classes).to(x.dtype)
        if self.crop < 1:
            x, lengths = self.pieces(x, lengths)
        if self.masks:
            x = self.masked(x)
        return self.mixed(x, y, lengths) if self.mixup else (x, y, lengths)

    def pieces(self, x, lengths):
        """A piece of each clip; the batch's pieces have one length, the shortest clip's share of `crop`."""
        taken = max(1, round(self.crop * lengths.min().item()))
        starts = (torch.rand(len(x), device=x.device) * (lengths - taken + 1)).long()
        places = torch.arange(taken, device=x.device)
        x = x[torch.arange(len(x), device=x.device)[:, None], starts[:, None] + places]
        return x, torch.full_like(lengths, taken)

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

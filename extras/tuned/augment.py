"""What the tuned recipe can do to a batch before the network sees it: pieces of the clips, and mixtures. Both are off by default."""

import torch
from torch import nn


class Augment:
    """augment(x, y, lengths) -> the same, changed at random: x (B, T, F), y (B,) classes or (B, axes) values, lengths (B,).

    Classes come back as (B, num_classes) shares, since a mixture has two; num_classes is None where y holds values.

    crop: share of each clip's length that is left, a piece from anywhere in it; mixup: the Beta distribution's parameter, 0 for none.
    """

    def __init__(self, crop=1.0, mixup=0.0, num_classes=None):
        self.crop, self.mixup, self.num_classes = crop, mixup, num_classes

    def __call__(self, x, y, lengths):
        if self.num_classes:
            y = nn.functional.one_hot(y, self.num_classes).to(x.dtype)
        if self.crop < 1:
            x, lengths = self.pieces(x, lengths)
        return self.mixed(x, y, lengths) if self.mixup else (x, y, lengths)

    def pieces(self, x, lengths):
        """A piece of each clip; the batch's pieces have one length, the shortest clip's share of `crop`."""
        taken = max(1, round(self.crop * lengths.min().item()))
        starts = (torch.rand(len(x), device=x.device) * (lengths - taken + 1)).long()
        places = torch.arange(taken, device=x.device)
        x = x[torch.arange(len(x), device=x.device)[:, None], starts[:, None] + places]
        return x, torch.full_like(lengths, taken)

    def mixed(self, x, y, lengths):
        """Each clip with another one of the batch laid over it, targets likewise (H. Zhang et al., "mixup", 2018)."""
        other = torch.randperm(len(x), device=x.device)
        share = torch.distributions.Beta(self.mixup, self.mixup).sample((len(x),)).to(x.device)
        share = torch.maximum(share, 1 - share)
        mine = share.reshape(-1, *[1] * (y.dim() - 1))
        return x.lerp(x[other], (1 - share)[:, None, None]), mine * y + (1 - mine) * y[other], lengths


class Augmented:
    """A DataLoader whose batches are changed by an Augment; everything else is the loader's."""

    def __init__(self, loader, augment):
        self.loader, self.augment = loader, augment

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def __iter__(self):
        return (self.augment(*batch) for batch in self.loader)

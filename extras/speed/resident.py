"""Clips that stay on a GPU: `loader = resident(loader, device)`, one statement that can be deleted.

The batches are the loader's own, in its own order. They are taken from a copy of all clips in the GPU's memory, so that
no clip is read, padded and transferred again in every epoch.
"""

import numpy as np
import torch

from common.dataset import unwrap
from common.features import N_FEATURES

RESIDENT_FRACTION = 0.5  # of the GPU's free memory, at most, for the clips; activations need the rest


def resident(loader, device):
    """A loader whose clips are kept on the device.

    On a CPU, for a dataset that is not a SpectrogramDataset, or if the clips do not fit, the loader itself.
    """
    base, indices = unwrap(loader.dataset)
    if torch.device(device).type == "cpu" or not hasattr(base, "clips") or not fits(base, device):
        return loader
    return ResidentLoader(loader, base, indices, device)


def fits(base, device):
    """Whether the clips of a SpectrogramDataset are on the device already or fit into its free memory."""
    if "resident" in vars(base) or torch.device(device).type != "cuda":
        return True
    return 2 * N_FEATURES * int(base.lengths.sum()) < RESIDENT_FRACTION * torch.cuda.mem_get_info(device)[0]


class ResidentLoader:
    """A DataLoader's batches from a copy of its dataset on the device; its other attributes are unchanged."""

    def __init__(self, loader, base, indices, device):
        if "resident" not in vars(base):
            base.resident = ResidentClips(base, device)
        self.loader, self.clips, self.indices = loader, base.resident, indices

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        for batch in self.loader.batch_sampler:
            yield self.clips.batch(self.indices[batch])


class ResidentClips:
    """A SpectrogramDataset's clips concatenated, (frames, F) float16, their labels and lengths, on one device."""

    def __init__(self, base, device):
        clips = [base.clips[ident][:length, base.columns] for ident, length in zip(base.ids, base.lengths, strict=True)]
        self.frames = torch.from_numpy(np.concatenate(clips)).to(device)
        self.labels = torch.from_numpy(base.labels).to(device)
        self.host_lengths = torch.from_numpy(base.lengths)
        self.lengths = self.host_lengths.to(device)
        self.starts = self.lengths.cumsum(0) - self.lengths

    def batch(self, indices):
        """(x (B, T, F) float32, y (B,), lengths (B,)) of these clips, zero-padded to the longest of them."""
        steps = torch.arange(int(self.host_lengths[indices].max()), device=self.frames.device)
        indices = torch.as_tensor(indices, device=self.frames.device)
        lengths = self.lengths[indices]
        frames = (self.starts[indices, None] + steps).clamp(max=len(self.frames) - 1)
        x = self.frames[frames].float().masked_fill_((steps >= lengths[:, None])[:, :, None], 0)
        return x, self.labels[indices], lengths

"""Clips that stay on a GPU: `loader = resident(loader, device)`, one statement that can be deleted.

The batches are the loader's own, in its own order. They come from a copy of all clips in the GPU's memory, so that none
is read, padded and carried over anew in every epoch.
"""

import numpy as np
import torch

from common.dataset import unwrap
from common.features import N_FEATURES

RESIDENT_SHARE = 0.5  # of the GPU's free memory that the clips may take; activations need the rest


def resident(loader, device):
    """The loader itself on a CPU, and where its dataset is none of ours or does not fit; else one whose clips lie on
    the device.
    """
    base, rows = unwrap(loader.dataset)
    if torch.device(device).type == "cpu" or not hasattr(base, "clips") or not fits(base, device):
        return loader
    return ResidentLoader(loader, base, rows, device)


def fits(base, device):
    """Whether the clips of a SpectrogramDataset are there already or fit into the device's memory, as far as PyTorch
    can tell.
    """
    if "resident" in vars(base) or torch.device(device).type != "cuda":
        return True
    return 2 * N_FEATURES * int(base.lengths.sum()) < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


class ResidentLoader:
    """The batches of a DataLoader from a copy of its dataset on the device; everything else, such as batch_sampler, is
    the DataLoader's.
    """

    def __init__(self, loader, base, rows, device):
        if "resident" not in vars(base):
            base.resident = ResidentClips(base, device)
        self.loader, self.clips, self.rows = loader, base.resident, rows

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        for batch in self.loader.batch_sampler:
            yield self.clips.batch(self.rows[batch])


class ResidentClips:
    """A SpectrogramDataset's clips one behind the other, (frames, F) float16, with their labels and lengths, on one
    device.
    """

    def __init__(self, base, device):
        clips = [base.clips[ident][:length, base.columns] for ident, length in zip(base.ids, base.lengths, strict=True)]
        self.frames = torch.from_numpy(np.concatenate(clips)).to(device)
        self.labels = torch.from_numpy(base.labels).to(device)
        self.host_lengths = torch.from_numpy(base.lengths)
        self.lengths = self.host_lengths.to(device)
        self.starts = self.lengths.cumsum(0) - self.lengths

    def batch(self, rows):
        """(x (B, T, F) float32, y (B,), lengths (B,)) of the clips in these rows, zeros behind each clip's end, T the
        longest of them.
        """
        steps = torch.arange(int(self.host_lengths[rows].max()), device=self.frames.device)
        rows = torch.as_tensor(rows, device=self.frames.device)
        lengths = self.lengths[rows]
        frames = (self.starts[rows, None] + steps).clamp(max=len(self.frames) - 1)
        x = self.frames[frames].float().masked_fill_((steps >= lengths[:, None])[:, :, None], 0)
        return x, self.labels[rows], lengths

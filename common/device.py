"""Where the batches of a pass come from and how precisely they are reckoned: on a GPU, resident there and in mixed precision."""

import contextlib

import numpy as np
import torch

from common.dataset import rows_of
from common.features import N_ROWS

RESIDENT_SHARE = 0.5  # of the GPU's free memory that the clips may take; activations need the rest


def batches_on(loader, device):
    """The loader's batches (x, y, lengths) on the device, in the loader's order.

    On a GPU the clips lie there as a whole in half precision, as in the cache, where they fit, and no batch comes from the host.
    """
    base, _ = rows_of(loader.dataset)
    if torch.device(device).type == "cuda" and hasattr(base, "clips") and fits(base, device):
        yield from resident_batches(loader, device)
    else:
        for batch in loader:
            yield tuple(tensor.to(device) for tensor in batch)


def fits(base, device):
    """Whether the clips of a SpectrogramDataset are there already or fit into the GPU's memory."""
    return "resident" in vars(base) or 2 * N_ROWS * int(base.lengths.sum()) < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def resident_batches(loader, device):
    """batches_on from a copy of all the dataset's clips on the device, made when it is first asked for."""
    base, rows = rows_of(loader.dataset)
    if "resident" not in vars(base):
        base.resident = ResidentClips(base, device)
    for batch in loader.batch_sampler:
        yield base.resident.batch(rows[batch])


class ResidentClips:
    """A SpectrogramDataset's clips one behind the other, (frames, F) float16, with their labels and lengths, on one device."""

    def __init__(self, base, device):
        clips = [base.clips[ident][:length, base.columns] for ident, length in zip(base.ids, base.lengths, strict=True)]
        self.frames = torch.from_numpy(np.concatenate(clips)).to(device)
        self.labels = torch.from_numpy(base.labels).to(device)
        self.host_lengths = torch.from_numpy(base.lengths)
        self.lengths = self.host_lengths.to(device)
        self.starts = self.lengths.cumsum(0) - self.lengths

    def batch(self, rows):
        """(x (B, T, F) float32, y (B,), lengths (B,)) of the clips in these rows, zeros behind each clip's end, T the longest of them."""
        steps = torch.arange(int(self.host_lengths[rows].max()), device=self.frames.device)
        rows = torch.as_tensor(rows, device=self.frames.device)
        lengths = self.lengths[rows]
        places = (self.starts[rows, None] + steps).clamp(max=len(self.frames) - 1)
        x = self.frames[places].float().masked_fill_((steps >= lengths[:, None])[:, :, None], 0)
        return x, self.labels[rows], lengths


def mixed_precision(device):
    """The context for a forward pass: on a GPU bfloat16 where the chip has it, else float16; on a CPU nothing."""
    if torch.device(device).type != "cuda":
        return contextlib.nullcontext()
    return torch.autocast("cuda", dtype=torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16)


def gradient_scaler(device):
    """Scales losses so that float16 gradients do not vanish; does nothing on a CPU and where the chip has bfloat16."""
    on_gpu = torch.device(device).type == "cuda"
    needed = on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.amp.GradScaler("cuda" if on_gpu else "cpu", init_scale=2.0**12, enabled=needed)


def full_precision(outputs):
    """Half-precision outputs as float32, others as they are: losses are reckoned in full."""
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs

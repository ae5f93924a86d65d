"""What is done to one clip's features before they meet a network."""

import numpy as np


class PaddingTransform:
    """Brings a clip to max_length frames: frames of padding_value are appended, or the frames beyond max_length cut off.

    Called with (T, F), returns a new (max_length, F) float32 array, so that nobody's edit reaches the stored clip.
    The lab pads with 0, which in mel decibels is the loudest value there is; silence would be -80.
    """

    def __init__(self, max_length, padding_value=0):
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1 frame, not {max_length}")
        self.max_length = max_length
        self.padding_value = padding_value

    def __call__(self, features):
        padded = np.full((self.max_length, features.shape[1]), self.padding_value, dtype=np.float32)
        kept = features[: self.max_length]
        padded[: len(kept)] = kept
        return padded

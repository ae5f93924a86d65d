"""Notes on what is odd about the clips that a run reads: other values than the lab's, classes of similar names."""

import math
import re

from common.dataset import unwrap
from common.features import COLUMNS

IN_SINGLE_FILE = False  # left out of the single file of a step: it changes no clip and no label

LOOKED_AT = 100  # clips of a split whose values are looked at; step 0 looks at all
EXPECTED = "mel bands below 0 dB, then chroma within 0..1; are they swapped, is it power in place of dB, or silence?"


def print_notes(classes, datasets):
    """Prints which names of classes are nearly the same, and what is odd about the SpectrogramDatasets behind Subsets."""
    for name, other in similar_names(classes):
        print(f"note       : {name!r} and {other!r} are two classes, but nearly the same name")
    for dataset in dict.fromkeys(unwrap(each)[0] for each in datasets if each is not None):
        if not hasattr(dataset, "clips"):  # another dataset than ours
            continue
        looked_at = dataset.ids[:: math.ceil(len(dataset.ids) / LOOKED_AT)]
        odd = [ident for ident in looked_at if is_odd(dataset.clips[ident][::10])]
        if odd:
            count = f"{len(odd)} of {len(looked_at)} clips looked at, among them '{odd[0]}', do not have"
            print(f"note       : {dataset.files[0].parent}: {count} {EXPECTED}")


def is_odd(clip):
    """Does a clip, (T, 140), have other values than dB re clip maximum, then chroma in 0..1? True for silence."""
    mel, chroma = clip[:, COLUMNS["mel"]], clip[:, COLUMNS["chroma"]]
    return bool(mel.max() > 0.1 or mel.min() >= 0 or chroma.min() < -0.01 or chroma.max() > 1.01)


def similar_names(names):
    """Pairs of names that differ only in case, hyphens or blanks, such as Hip-Hop and hip hop, in sorted order."""
    first: dict = {}
    pairs = [(first.setdefault(re.sub(r"[\W_]+", "", name).casefold(), name), name) for name in sorted(names)]
    return [pair for pair in pairs if pair[0] != pair[1]]

"""Weights of an image model for the audio spectrogram transformer, from timm; needs requirements-ast.txt."""

import importlib.util

from common.errors import LabError, reason

# DeiT (Touvron et al. 2021), trained on ImageNet, by size; the paper starts from the last one's like with a second token
IMAGE_MODELS = {
    "tiny": "deit_tiny_patch16_224",
    "small": "deit_small_patch16_224",
    "base": "deit_base_patch16_384",
}


def image_weights(size):
    """The state dict of timm's image model of this size, downloaded where it is not there yet.

    Raises LabError where there is none of this size, where timm is missing, and where its weights cannot be had.
    """
    if size not in IMAGE_MODELS:
        raise LabError(f"--init timm: a --size among {', '.join(IMAGE_MODELS)} was expected with it, not {size}")
    if importlib.util.find_spec("timm") is None:
        raise LabError("--init timm: timm was expected: python -m pip install -r requirements-ast.txt")
    import timm

    try:
        return timm.create_model(IMAGE_MODELS[size], pretrained=True).state_dict()
    except Exception as error:  # the hub, the network and the disk raise nearly anything
        problem = f"the weights of {IMAGE_MODELS[size]} cannot be had ({reason(error)})"
        raise LabError(f"--init timm: {problem}; without --init the network is trained from scratch") from error

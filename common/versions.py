"""What numbers depend on beside data, arguments and seed."""

import platform
from functools import cache
from importlib.metadata import version

import torch

package_version = cache(version)  # it reads files, and a state is saved after every epoch


def versions():
    """What the figures depend on beside the seed: interpreter, libraries, machine, threads."""
    packages = {name: package_version(name) for name in ("torch", "numpy", "scikit-learn", "scipy", "matplotlib")}
    return {"python": platform.python_version(), **packages, "machine": platform.machine(), "threads": torch.get_num_threads()}

"""make soak: 200 truncations and 200 flipped bytes each of a cache, a checkpoint and a saved state; fails where damage
goes unseen.

PYTHONPATH=. python tests/soak_damage.py [--times 200] [--seed 0]
"""

import argparse
import contextlib
import io
import random
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

from conftest import write_tiny_data

import step7_cnn
from common.cache import open_clips
from common.checkpoints import digest, read_checkpoint
from common.errors import LabError
from common.reading import find_spectrograms
from common.resume import read_states, unflattened


def truncated(content, rng):
    return content[: rng.randrange(len(content))]


def flipped(content, rng):
    """One bit in a random byte; half of the time within the last 2,000 bytes, where tables and directories are."""
    place = (
        rng.randrange(len(content)) if rng.random() < 0.5 else rng.randrange(max(0, len(content) - 2000), len(content))
    )
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def cache_case(root, suffix):
    """(file, what it gives, what it gave when it was whole): all clips of the training split, read through the cache."""
    files = find_spectrograms(root / "data" / "fma_genre_spectrograms" / "train")
    index = root / "split.json"

    def read():
        clips = open_clips(files, index)
        return {ident: clips[ident].tobytes() for ident in files}

    right = read()
    (path,) = root.glob(f"split*{suffix}")
    return path, read, right


def checkpoint_case(root):
    path = root / "runs" / "step7_cnn" / "mel_seed0" / "best.pt"

    def read():
        weights, metadata = read_checkpoint(path)
        return digest(weights, ""), metadata

    return path, read, read()


def state_case(root):
    """The newest state; what counts as right is this one or, where it is damaged, the one before."""
    path = root / "runs" / "step7_cnn" / "mel_seed0" / "state.pt"
    before = path.with_name("state.before.pt")
    kept = before.read_bytes()
    newest = read_checkpoint(path)[1]

    def weights_of(at):
        tensors, metadata = read_checkpoint(at)
        state = unflattened(metadata["state"], tensors)
        return metadata["epoch"], digest(state["parts"][0], "")

    right = dict(map(weights_of, (path, before)))

    def read():
        said = io.StringIO()
        before.write_bytes(kept)
        with contextlib.redirect_stderr(said):
            metadata, state = read_states(path.parent, newest["arguments"], newest["data"])["state.pt"]
        if metadata["epoch"] < newest["epoch"] and str(path) not in said.getvalue():
            return "the one before, and nothing was said"
        return "right" if digest(state["parts"][0], "") == right[metadata["epoch"]] else "wrong"

    return path, read, read()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, wrong = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tiny_data(root / "data")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            places = ["--data", str(root / "data"), "--no-cache", "--out", str(root / "runs"), "--no-baselines"]
            step7_cnn.main([*places, "--epochs", "3"])
        cases = {
            "cache's index": partial(cache_case, suffix=".json"),
            "cache's array": partial(cache_case, suffix=".npy"),
        }
        for name, case in {**cases, "checkpoint": checkpoint_case, "state": state_case}.items():
            path, read, right = case(root)
            whole = path.read_bytes()
            for damage in (truncated, flipped):
                outcomes = Counter()
                for _ in range(args.times):
                    path.write_bytes(damage(whole, rng))
                    try:
                        with contextlib.redirect_stderr(io.StringIO()):
                            found = read()
                        outcomes["right" if found == right else "WRONG"] += 1
                    except LabError as error:
                        outcomes[
                            "refused by name" if str(path) in str(error) and "\n" not in str(error) else "UNNAMED"
                        ] += 1
                wrong += outcomes["WRONG"] + outcomes["UNNAMED"]
                print(f"{name} {damage.__name__} {args.times} times: {dict(outcomes)}", flush=True)
            path.write_bytes(whole)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

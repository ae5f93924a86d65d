import pickle

import pytest
import torch

from common.checkpoints import load_weights, read_checkpoint
from common.errors import LabError
from common.files import save_checkpoint
from common.models import Classifier, LSTMBackbone

METADATA = {"architecture": ["lstm", 4], "classes": ["Rock", "Ελληνικά"], "train_ids": ["1", "2"]}


@pytest.fixture
def saved(tmp_path):
    model = Classifier(LSTMBackbone(3, 4), 2)
    save_checkpoint(tmp_path / "best.pt", model.state_dict(), METADATA)
    return tmp_path / "best.pt", model


def test_a_checkpoint_gives_back_weights_and_facts(saved):
    path, model = saved
    other = Classifier(LSTMBackbone(3, 4), 2)
    weights, metadata = read_checkpoint(path)
    load_weights(path, other, weights)
    assert metadata == METADATA
    torch.testing.assert_close(dict(other.state_dict()), dict(model.state_dict()), rtol=0, atol=0)
    assert not list(path.parent.glob("*.part"))


def test_a_checkpoint_is_plain_tensors_to_anyone(saved):
    content = torch.load(saved[0], weights_only=True)
    assert set(content) == {"weights", "metadata", "sha256"} and isinstance(content["metadata"], str)


def test_other_shapes_are_refused(saved):
    with pytest.raises(LabError, match="differs"):
        load_weights(saved[0], Classifier(LSTMBackbone(3, 5), 2), read_checkpoint(saved[0])[0])


def test_every_truncation_is_refused_by_name(saved):
    path, whole = saved[0], saved[0].read_bytes()
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(LabError, match=str(path)):
            read_checkpoint(path)


def test_a_flipped_byte_is_refused_or_harmless(saved):
    path, whole = saved[0], saved[0].read_bytes()
    right = read_checkpoint(path)
    refused = 0
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        try:
            weights, metadata = read_checkpoint(path)
        except LabError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert metadata == right[1]
            torch.testing.assert_close(weights, right[0], rtol=0, atol=0)
    assert refused > 10


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    for name, write in (("zip.pt", torch.save), ("old.pt", lambda thing, path: path.write_bytes(pickle.dumps(thing)))):
        write({"weights": Trap()}, tmp_path / name)
        with pytest.raises(LabError, match=name):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_missing_or_foreign_checkpoints_are_named(tmp_path):
    torch.save({"some": torch.zeros(2)}, tmp_path / "foreign.pt")
    for name in ("absent.pt", "foreign.pt", "."):
        with pytest.raises(LabError, match=str(tmp_path / name)):
            read_checkpoint(tmp_path / name)

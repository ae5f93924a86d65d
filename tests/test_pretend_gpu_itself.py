"""The pretend GPU of pretend_gpu.py itself: right numbers, and errors where a real one has them."""

import copy
import os
import warnings

import numpy as np
import pretend_gpu
import pytest
import torch
from torch import nn

from common.models import Classifier, CNNBackbone, LSTMBackbone, mask_padding
from extras.tuned.networks import tuned_backbone

if not pretend_gpu.is_supported():
    pytest.skip(
        f"PyTorch {torch.__version__} takes no device from Python, 2.9 is the first that does: no pretend GPU",
        allow_module_level=True,
    )

REFUSED = "expected all tensors on the same device|are not at the same device"


@pytest.fixture(scope="module", autouse=True)
def gpu():
    pretend_gpu.register()
    with pretend_gpu.one_thread():
        yield


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("directions", [1, 2])
def test_its_lstm_gives_pytorchs_values_and_gradients(directions, packed):
    torch.manual_seed(0)
    lstm = nn.LSTM(5, 4, 2, batch_first=True, bidirectional=directions == 2).double()
    twin = copy.deepcopy(lstm).to("gpu")
    x, lengths = torch.randn(3, 6, 5, dtype=torch.float64), torch.tensor([6, 2, 4])
    found = []
    for model, given in ((lstm, x.clone().requires_grad_()), (twin, x.to("gpu").requires_grad_())):
        packing = {"batch_first": True, "enforce_sorted": False}
        sequence, (hidden, cell) = model(
            nn.utils.rnn.pack_padded_sequence(given, lengths, **packing) if packed else given
        )
        sequence = nn.utils.rnn.pad_packed_sequence(sequence, batch_first=True)[0] if packed else sequence
        (sequence.square().sum() + hidden.sum() + (2 * cell).sum()).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        gradients = [given.grad, *(weight.grad for weight in model.parameters())]
        found.append([each.detach().cpu() for each in (sequence, norm, *gradients)])
    torch.testing.assert_close(found[1], found[0])


FAULTS = []


def fault(function):
    FAULTS.append(function)
    return function


@fault
def left_lengths_on_the_cpu():
    mask_padding(torch.ones(2, 1, 4, 3, device="gpu"), torch.tensor([4, 2]))


@fault
def left_loss_weights_on_the_cpu():
    logits = torch.zeros(2, 3, device="gpu", requires_grad=True)
    nn.CrossEntropyLoss(weight=torch.ones(3))(logits, torch.tensor([0, 1], device="gpu"))


@fault
def left_labels_on_the_cpu():
    nn.CrossEntropyLoss()(torch.zeros(2, 3, device="gpu"), torch.tensor([0, 1]))


@fault
def left_the_model_on_the_cpu():
    Classifier(CNNBackbone(16, (2, 4)), 3)(torch.zeros(2, 8, 16, device="gpu"), torch.tensor([8, 8], device="gpu"))


@fault
def left_the_input_on_the_cpu():
    LSTMBackbone(16, 4).to("gpu")(torch.zeros(2, 8, 16), torch.tensor([8, 8]))


@fault
def kept_a_mean_as_an_attribute():
    front = tuned_backbone("tuned-cnn", 16, 1).front_end
    mean = front.mean
    del front.mean
    front.mean = mean  # no buffer any more, so .to(device) leaves it
    front.to("gpu")(torch.zeros(2, 8, 16, device="gpu"), torch.tensor([8, 8], device="gpu"))


@fault
def indexed_the_cpu_by_the_gpu():
    torch.ones(3)[torch.tensor([0, 2], device="gpu")]


@fault
def gathered_by_the_cpu():
    torch.ones(3, device="gpu").gather(0, torch.tensor([0]))


@fault
def added_a_number_of_the_gpu_to_the_cpus():
    torch.zeros(()).add_(torch.ones((), device="gpu"))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_it_refuses_what_is_on_two_devices(fault):
    with pytest.raises(RuntimeError, match=REFUSED):
        fault()


def test_it_refuses_numpy_and_lengths_that_packing_cannot_take():
    x = torch.ones(2, 3, device="gpu")
    for fault in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises((RuntimeError, TypeError), match="numpy"):
            fault()
    with pytest.raises(RuntimeError, match="CPU"):
        nn.utils.rnn.pack_padded_sequence(x[:, :, None], torch.tensor([3, 2], device="gpu"), batch_first=True)


def test_it_lets_pass_what_cuda_lets_pass():
    x = torch.arange(6.0, device="gpu").reshape(2, 3)
    assert x[torch.tensor([1]), torch.tensor([0], device="gpu")].tolist() == [3.0]
    assert x[torch.tensor([False, True])].tolist() == [[3.0, 4.0, 5.0]]
    assert (x * torch.tensor(2.0) + x.new_tensor([1.0, 2.0, 3.0])).tolist() == [[1.0, 4.0, 7.0], [7.0, 10.0, 13.0]]
    x[0] = torch.zeros(3)  # a copy
    x[:, 2] += x.new_zeros(2) + 1
    on_cpu, on_gpu = nn.Linear(3, 2), nn.Linear(3, 2).to("gpu")
    on_cpu.load_state_dict(on_gpu.state_dict())
    assert torch.equal(on_cpu.weight, on_gpu.weight.cpu()) and on_cpu.weight.device.type == "cpu"
    assert x.tolist() == [[0.0, 0.0, 1.0], [3.0, 4.0, 6.0]] and f"{x.max():.1f}" == "6.0" and float(x.sum()) == 14.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_of_this_process_can_still_train():
    """Autograd's threads for a device would forbid it, and with it other tests that this process runs."""
    model = nn.Linear(2, 1).to("gpu")
    model(torch.ones(1, 2, device="gpu")).sum().backward()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest's own threads
        child = os.fork()
    if child == 0:
        try:
            torch.ones(1, requires_grad=True).sum().backward()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

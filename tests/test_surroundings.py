"""What surrounds a run: a notebook's kernel and its settings, environment variables, signals, and names that are none."""

import gzip
import io
import json
import os
import signal
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from test_predict import CLASSES, SMALL_CNN, runs, write_checkpoint  # noqa: F401, runs is a fixture

import predict
import step0_data
import step7_cnn
import step9_transfer
from common import cli
from common.checkpoints import read_backbone, read_checkpoint
from common.errors import LabError
from common.files import save_checkpoint
from common.labels import load_class_mapping
from common.models import CNNBackbone
from common.progress import Tee
from common.reading import read_fused_spectrogram
from extras.own_data.kaggle import unpack
from extras.speed.processes import join_processes


@pytest.fixture
def flags(data, tmp_path):
    places = ["--data", str(data), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "runs")]
    return [*places, "--no-baselines", "--batch-size", "8", "--epochs", "1"]


KERNELS = [
    ["ipykernel_launcher.py", "-f", "/tmp/kernel-1.json"],
    ["colab_kernel_launcher.py", "-f", "/tmp/kernel-2.json"],
    ["C:/lab/Lib/site-packages/ipykernel_launcher.py", "--f=c:\\Users\\lab\\kernel-v3.json"],
    ["/opt/venv/lib/ipykernel/__main__.py", "-f", "k.json"],
]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_notebooks_own_arguments_are_none_of_ours(kernel, monkeypatch):
    monkeypatch.setattr(sys, "argv", kernel)
    parser = cli.step_parser("a step", epochs=3, lr=0.1)
    assert parser.parse_args().epochs == 3 and parser.parse_args(["--epochs", "1"]).epochs == 1
    with pytest.raises(SystemExit):
        parser.parse_args(["-f", "k.json"])  # given by the user, it is a mistake
    with pytest.raises(SystemExit):
        predict.main()  # no song
    monkeypatch.setattr(sys, "argv", ["step7_cnn.py", "--epochs", "2"])  # a script's, %run's too
    assert parser.parse_args().epochs == 2


@pytest.mark.parametrize("default", ["dtype", "device", "gradients"])
def test_defaults_of_pytorch_that_a_notebook_has_changed_are_named(default, flags):
    try:
        if default == "dtype":
            torch.set_default_dtype(torch.float64)
        elif default == "device":
            torch.set_default_device("meta")
        else:
            torch.set_grad_enabled(False)
        for main, arguments in ((step7_cnn.main, flags), (predict.main, ["song.mp3"]), (step0_data.main, [])):
            with pytest.raises(LabError, match=r"^torch\.set_\w+\(.*\) was expected before this: "):
                main(arguments)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_grad_enabled(True)


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "module://nothing", "nonsense"])
def test_a_notebooks_picture_backend_stops_no_script(backend, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", backend)
    cli.run_script(lambda: print(os.environ.get("MPLBACKEND")))
    assert capsys.readouterr().out == "None\n"


@pytest.mark.parametrize("world", ["2", "0", "many", "-1", "2.0"])
def test_processes_that_nobody_started_are_one_sentence(world, flags, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", world)
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(LabError, match=rf"^WORLD_SIZE={world} in the environment: start with torchrun"):
        step7_cnn.main(flags)


def test_a_process_beyond_their_number_does_not_wait_for_the_others(flags, monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "7", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LabError, match=r"WORLD_SIZE=2 in the environment: .*RANK below it"):
        step7_cnn.main(flags)


@pytest.mark.parametrize("world", ["", " ", "1"])
def test_an_empty_number_of_processes_is_one(world, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", world)
    join_processes(None)


@pytest.mark.parametrize(
    "words", ["--lr 1e38", "--lr 1e308", "--epochs 1" + 30 * "0", "--seeds 1" + 12 * "0", "--seeds 0x10"]
)
def test_numbers_that_no_run_can_have_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        cli.step_parser("a step", epochs=3, lr=0.1).parse_args(words.split())
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith(f"error: argument {words.split()[0]}: a")


def test_sigterm_keeps_the_state_and_says_how_to_go_on(flags, tmp_path, capsys, monkeypatch):
    passes = iter(range(2))

    def terminated(*arguments, really=step7_cnn.train_epoch):
        if next(passes, None) is None:
            os.kill(os.getpid(), signal.SIGTERM)
        return really(*arguments)

    monkeypatch.setattr(step7_cnn, "train_epoch", terminated)
    monkeypatch.setattr(sys, "argv", ["step7_cnn.py", "--out", "a b"])
    with pytest.raises(SystemExit) as ended:
        cli.run_script(lambda: step7_cnn.main([*flags[:-1], "4"]))
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 143 and lines[-2] == "stopped by SIGTERM"
    assert lines[-1].endswith("python step7_cnn.py --out 'a b' --resume")
    assert read_checkpoint(tmp_path / "runs/step7_cnn/mel_seed0/state.pt")[1]["epoch"] == 1
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_console_of_windows_shows_what_it_can(flags, tmp_path, monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), "cp1253")
    monkeypatch.setattr(sys, "stdout", console)
    cli.run_script(lambda: print("Ρεμπέτικο, Ärger, 🎵", flush=True))
    assert console.buffer.getvalue().decode("cp1253").split() == ["Ρεμπέτικο,", "?rger,", "?"]


# Names that are no songs


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("https://youtu.be/x?v=1", "a file on this computer was expected; download it"),
        ("FTP://host/song.npy", "a file on this computer was expected; download it"),
        ("{folder}", "this is a folder; give the songs in it, {folder}/\\*"),
        ("{folder}/a b.npy", "this is a folder; give the songs in it, '{folder}/a b.npy'/\\*"),
        ("{folder}/none.mp3", "there is no such file"),
        ("{folder}/*.mp3", "there is no such file"),
        ("", "there is no such file"),
        ("{folder}/pipe.wav", "this is a pipe or a device"),
        ("{folder}/pipe.npy", "this is a pipe or a device"),
        ("/dev/null", "this is a pipe or a device"),
    ],
)
def test_what_is_no_song_is_said(name, sentence, runs, tmp_path, capsys):  # noqa: F811
    (tmp_path / "a b.npy").mkdir()
    for pipe in ("pipe.wav", "pipe.npy"):
        os.mkfifo(tmp_path / pipe)
    with pytest.raises(LabError, match=sentence.format(folder=tmp_path)):
        predict.main([name.format(folder=tmp_path), "--out", str(runs), "--json"])


def test_a_pattern_is_the_songs_that_it_stands_for(runs, tmp_path, capsys):  # noqa: F811
    for name in ("b.npy", "a.npy", "[c].npy"):
        np.save(tmp_path / name, np.linspace(-80, 0, 140 * 200).reshape(140, 200))
    found = [answer["file"] for answer in predict.main([str(tmp_path / "*.npy"), "--out", str(runs)])]
    assert [os.path.basename(path) for path in found] == ["[c].npy", "a.npy", "b.npy"]
    assert len(predict.main([str(tmp_path / "[c].npy"), "--out", str(runs)])) == 1


def test_every_song_that_fails_has_a_line_of_its_own(runs, tmp_path, capsys):  # noqa: F811
    names = [str(tmp_path / f"{number}.mp3") for number in range(3)]
    with pytest.raises(LabError, match=r"^3 of 3 songs cannot be read"):
        predict.main([*names, "--out", str(runs)])
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [["error", name] for name in names]


@pytest.mark.parametrize("window", ["1e308", "1e29", "3601"])
def test_a_window_longer_than_an_hour_is_refused(window, capsys):
    with pytest.raises(SystemExit):
        predict.main(["song.mp3", "--window", window])
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and ("at most 3600 s" in error or "up to 1e30" in error)


# Files that are not what they claim


def npy(shape, body=b"", version=1, length=None):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + body


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("more than its header says", npy((140, 2))),
        ("a shape of 17 TB", npy((140, 10**10))),
        ("a shape of 1.7 GB", npy((140, 1_518_000))),
        ("a header of 4 GB", npy((140, 2), version=2, length=2**32 - 1)),
    ],
)
def test_a_file_that_unpacks_to_a_gigabyte_is_read_no_further_than_it_needs(tmp_path, monkeypatch, name, start):
    path, read = tmp_path / "1.npy.gz", [0]
    path.write_bytes(gzip.compress(start + bytes(30_000_000), 1))

    def counted(self, size=-1, really=gzip.GzipFile.read):
        found = really(self, size)
        read[0] += len(found)
        return found

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(LabError, match=rf"^{path}: "):
        read_fused_spectrogram(path)
    assert read[0] < 100_000


def test_a_file_of_the_second_version_is_read_and_a_pipe_is_not(tmp_path):
    values = np.arange(280.0).reshape(140, 2)
    (tmp_path / "1.npy").write_bytes(npy((140, 2), values.tobytes(), version=2))
    assert (read_fused_spectrogram(tmp_path / "1.npy") == values.T).all()
    for name in ("2.npy", "3.npy.gz", "4.pt"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(LabError, match=rf"{name}: .* was expected, this is a folder or a pipe"):
            (read_checkpoint if name == "4.pt" else read_fused_spectrogram)(tmp_path / name)


@pytest.mark.parametrize("method", [9, 93, 97])
def test_a_zip_that_python_cannot_read_is_refused_before_anything_is_written(tmp_path, method):
    path, buffer = tmp_path / "archive.zip", io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fma_genre_spectrograms/train/1.fused.full.npy", bytes(1000))
    content = bytearray(buffer.getvalue())
    content[8], content[content.find(b"PK\x01\x02") + 10] = method, method
    path.write_bytes(content)
    with pytest.raises(LabError, match=r"1\.fused\.full\.npy is packed by .*; unpack it with 7-Zip or Explorer"):
        unpack(path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_checkpoint_whose_classes_do_not_fit_its_head_is_no_start(tmp_path, flags):
    path = write_checkpoint(tmp_path / "best.pt")
    backbone = CNNBackbone(128, SMALL_CNN[2], 3)
    weights, _ = read_backbone(path, backbone, SMALL_CNN)
    backbone.load_state_dict(weights)
    weights, _ = read_checkpoint(path)
    for classes in (CLASSES[:2], [*CLASSES, "Blues"]):
        other = write_checkpoint(tmp_path / "other.pt", classes=classes)
        content = torch.load(other, weights_only=True)
        save_checkpoint(other, weights, json.loads(content["metadata"]))
        with pytest.raises(LabError, match=rf"{other}: .*'head\.\w+' differs"):
            read_backbone(other, backbone, SMALL_CNN)
        with pytest.raises(LabError, match=rf"^{other}: "):
            step9_transfer.main([*flags, "--pretrained", str(other)])


def test_the_next_command_is_quoted_for_the_shell(data, tmp_path, capsys, monkeypatch):
    named = tmp_path / "my $data; it's"
    named.symlink_to(data)
    monkeypatch.setattr(step0_data, "import_audio", lambda *_, **__: {"skipped": [], "notes": [], "clips": 1})
    monkeypatch.setattr(
        step0_data, "lab_data", lambda path, origin, really=step0_data.lab_data: moved(really, path, named)
    )
    step0_data.main(["--audio", "x", "--data", str(named), "--headers", "--out", str(tmp_path / "runs")])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next ")]
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {line.partition('--data ')[2]}"], capture_output=True, text=True
    )
    assert words.stdout == f"{named}\n"


def moved(really, path, named):
    found = really(path, "--audio")
    object.__setattr__(found, "path", named)
    return found


def test_a_class_of_half_a_character_is_refused(tmp_path):
    (tmp_path / "class_mapping.json").write_text('{"Rock": "Rock\\ud800", "Jazz": "Jazz"}')
    with pytest.raises(LabError, match=r"class_mapping\.json: a JSON object of genres to printable class names"):
        load_class_mapping(tmp_path)


def test_output_that_goes_to_a_full_disk_is_one_sentence(tmp_path):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    full = pytest.raises(LabError, match=r"the output could not be written where it goes .*No space")
    with open(tmp_path / "log.txt", "wb", buffering=0) as log, full:
        Tee(Full(), log).write("a line\n")

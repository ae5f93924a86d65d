"""Scripts run one after the other, each in a fork of one process that has imported PyTorch but nothing of the project.

A start costs 0.3 s instead of 5 s. warm_script is run_script of tests/runs.py otherwise, without drawing pictures;
where there is no os.fork it is run_script itself.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from runs import REPOSITORY, Done, run_script

HEAVY = "torch torch._dynamo numpy scipy.stats scipy.fft sklearn.metrics sklearn.svm sklearn.linear_model"
HEAVY += " sklearn.model_selection"
HEAVY += " sklearn.pipeline sklearn.preprocessing matplotlib.figure matplotlib.pyplot filelock tqdm threadpoolctl"
SERVER = []
LAST = [0.0]  # CPU seconds of the script run last


def warm_script(script, *arguments, root, env=None, expect=0, cwd=None):
    """Runs a script, below REPOSITORY or by its whole path, or "-m module", in `cwd`, else in the folder of `root`.

    expect: its exit code, None for any.
    """
    if not hasattr(os, "fork"):
        return run_script(script, *arguments, root=root, env=env, expect=expect)
    if not SERVER or SERVER[0].poll() is not None:
        command = [sys.executable, str(Path(__file__)), *HEAVY.split()]
        given = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        SERVER[:] = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tempfile.gettempdir(), env=given
            )
        ]
        atexit.register(SERVER[0].stdin.close)
    command = ["-m", script[3:]] if str(script).startswith("-m ") else [str(REPOSITORY / script)]
    request = {"command": [*command, *map(str, arguments)], "cwd": str(cwd or Path(root).parent), "env": env or {}}
    with tempfile.TemporaryDirectory() as folder:
        SERVER[0].stdin.write(json.dumps({**request, "streams": [f"{folder}/out", f"{folder}/err"]}) + "\n")
        SERVER[0].stdin.flush()
        code, LAST[0] = map(float, SERVER[0].stdout.readline().split())
        out, err = (Path(folder, name).read_text(encoding="utf-8") for name in ("out", "err"))
    assert expect is None or code == expect, f"{request['command']}: exit code {code}\n{out[-2000:]}\n{err[-4000:]}"
    return Done(out, err, root)


def serve():
    """Reads a request a line, runs it in a fork and answers with its exit code."""
    import importlib

    import torch

    del sys.path[0]  # tests/
    for name in sys.argv[1:]:
        importlib.import_module(name)
    from matplotlib.backend_bases import FigureCanvasBase

    FigureCanvasBase.print_figure = lambda self, file, *_, **__: (
        file.write(b"not drawn") if hasattr(file, "write") else Path(file).touch()
    )
    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(**json.loads(line))
        _, status, used = os.wait4(child, 0)
        print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, flush=True)


def run(command, cwd, env, streams):
    """The request in this process, which ends with it, as the interpreter would run the command."""
    import runpy
    import traceback

    os.chdir(cwd)
    os.environ.update(env)
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    is_module = command[0] == "-m"
    sys.argv = command[is_module:]
    sys.path.insert(0, cwd if is_module else str(Path(command[0]).parent))
    code = 0
    try:
        if is_module:
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()

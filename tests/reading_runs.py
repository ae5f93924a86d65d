"""One set of small runs of every step, made once for the tests of the data, the page, predict and step 7a."""

from runs import REPOSITORY, Done, shared_run
from warm import warm_script

SIZE = 8
EPOCHS = {"step5_lstm": 2, "step7_cnn": 4, "step8_regression": 2, "step9_transfer": 2, "step10_multitask": 2}
AXIS = "energy"  # of steps 8 and 9
CALLS = (
    ("step0_data",),
    ("step1_visualize",),
    ("step5_lstm", "--features", "mel", "beat"),
    ("step7_cnn",),
    ("step8_regression", "--axis", AXIS),
    ("step9_transfer", "--axis", AXIS, "--pretrain-epochs", 2),
    ("step10_multitask",),
    ("step7a_look_inside", "--digit-epochs", 2),
)
WATCHED = """
import runpy, sys
from pathlib import Path
import numpy as np
from matplotlib.axes import Axes
target, script, *arguments = sys.argv[1:]
drawn, imshow = [], Axes.imshow
def watched(self, image, *more, **options):
    drawn.append(np.array(image, dtype=float))
    np.savez(target, *drawn)
    return imshow(self, image, *more, **options)
Axes.imshow = watched
sys.argv = [script, *arguments]
sys.path.insert(0, str(Path(script).parent))
runpy.run_path(script, run_name="__main__")
"""


def watched_script(script, *arguments, images, root):
    """warm_script that keeps every array that matplotlib's imshow is given in the .npz file `images`."""
    watcher = images.with_suffix(".py")
    watcher.write_text(WATCHED, encoding="utf-8")
    return warm_script(str(watcher), images, REPOSITORY / script, *arguments, root=root)


def reading_runs(shared_folder, small):
    """Done of all CALLS on the data `small`: what they printed, in order, and their runs. Step 7a's images are watched."""

    def make(folder):
        common = ["--data", small.path, "--cache", folder / "cache", "--out", folder / "runs"]
        printed = []
        for step, *flags in CALLS:
            trained = ["--no-baselines", "--batch-size", SIZE, "--epochs", EPOCHS[step]] if step in EPOCHS else []
            arguments = f"{step}.py", *common, *trained, *flags
            if step == "step7a_look_inside":
                run = watched_script(*arguments, images=folder / "inside.npz", root=folder / "runs")
            else:
                run = warm_script(*arguments, root=folder / "runs")
            printed.append(run.out)
        return Done("".join(printed), "", folder / "runs")

    return shared_run(shared_folder, "reading", make)

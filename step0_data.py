"""Step 0: what is here? Counts and checks the lab's data, and names every file that is missing or damaged.

    python step0_data.py
    python step0_data.py --data DIR --headers
    python step0_data.py --demo --seconds 10 --scale 1

Needs no earlier step. --demo composes the demo music first, into demo_data/ or into --data DIR. Exit code 1 when a labelled file is
missing, a file is unreadable, a label file is broken, or one of the lab's four folders is not there. Reading all of the lab's data takes
minutes (8 GB), --headers seconds. Writes runs/step0_data/<variant>/: log and survey.json.
"""

from collections import Counter
from pathlib import Path

from common.cli import parse_arguments, positive, run_script, step_parser, variant_name
from common.demo_music import compose_demo
from common.errors import LabError
from common.files import write_json
from common.locations import EMOTIONS, GENRES, REPOSITORY, find_data, lab_data
from common.report import print_header
from common.run import open_run, result_line
from common.survey import SIDES, survey_data
from common.writeup import STEP0_DATA

STEP = "step0_data"
UNITS = {"mel": " dB", "chroma": ""}


def main(argv=None):
    args = parse_flags(argv)
    data = composed_data(args) if args.demo else find_data(args.data)
    with open_run(args, STEP, variant_name(args, "headers" if args.headers else "values"), data) as run:
        result, problems = look_and_report(args, data, run)
    print(result_line(STEP, data, args.mode, result))
    if problems:
        raise LabError(f"{data.path}: the lab's data whole and readable were expected; {problems}, as listed above and in {run.folder}")
    return result


def parse_flags(argv):
    parser = step_parser(__doc__)
    parser.add_argument("--headers", action="store_true", help="judge each file by header and size, without reading its values")
    parser.add_argument("--demo", action="store_true", help="compose demo music by --seed, into --data DIR where that is given")
    parser.add_argument("--seconds", type=positive, metavar="S", help="with --demo: length of a clip (default: 10; the lab's are 30)")
    parser.add_argument("--scale", type=positive, metavar="X", help="with --demo: number of clips (default: 1; 4.5 gives the lab's)")
    args = parse_arguments(parser, argv)
    if not args.demo and (args.seconds or args.scale):
        parser.error("--seconds and --scale say how demo music is composed: --demo was expected beside them")
    args.mode = "full"
    return args


def composed_data(args):
    """Composes the demo music unless it lies there already; returns it as LabData."""
    root = Path(args.data).expanduser() if args.data else REPOSITORY / "demo_data"
    choices = {name: value for name, value in (("seconds", args.seconds), ("scale", args.scale)) if value is not None}
    compose_demo(root, seed=args.seed, **choices)
    return lab_data(root, "--demo")


def look_and_report(args, data, run):
    """Prints and saves the survey. Returns the figures of the RESULT line, and the problems in words, empty where there are none."""
    print_header("Step 0: what lies in the data folder", data, args, run)
    print(f"it holds   : {', '.join(sorted(path.name for path in data.path.iterdir()))}")
    survey = survey_data(data, args.headers)
    write_json(run.folder / "survey.json", survey)

    print_sides(survey["sides"])
    print_genres(survey["genres"])
    print_axes(survey["axes"])

    classes = {row["class"] for row in survey["genres"].values()} - {None, "?"}
    clips = {name: count_clips(survey["sides"], folder) for name, folder in (("genre_clips", GENRES), ("multitask_clips", EMOTIONS))}
    print(f"\ngenre set     : {clips['genre_clips']} clips of {len(survey['genres'])} genres, {len(classes)} classes after the mapping")
    print(f"multitask set : {clips['multitask_clips']} clips")
    print("write-up      : {genre_clips} clips of {genres} genres, and {multitask_clips} clips\n".format(**STEP0_DATA))

    totals = print_findings(survey)
    result = {**clips, "missing": totals["missing"], "unreadable": totals["unreadable"]}
    run.finish(result)
    words = {"missing": "missing labelled files", "unreadable": "unreadable files", "errors": "absent folders or broken label files"}
    return result, ", ".join(f"{totals[name]} {text}" for name, text in words.items() if totals[name])


def print_sides(sides):
    """One line a side: how many files, how long, of what type, how large, and between which values."""
    width = max(map(len, sides), default=0)
    print(f"\n{'folder and side':{width}} {'files':>6} {'labels':>6}   {'frames: min   mean    max':25} {'MB':>8}  dtype; values")
    for key, side in sides.items():
        low, mean, high = side["frames"] or (0, 0, 0)
        values = ", ".join(f"{part} {side[part][0]:.2f} to {side[part][1]:.2f}{unit}" for part, unit in UNITS.items() if side[part])
        dtypes = ", ".join(name if count == len(side["ids"]) else f"{count} {name}" for name, count in side["dtypes"].items())
        print(
            f"{key:{width}} {len(side['ids']):6} {side['labelled'] or '-':>6}   {low:11} {mean:6.1f} {high:6} {side['bytes'] / 1e6:8.1f}"
            f"  {dtypes}{'; ' * bool(values)}{values}"
        )


def print_genres(genres):
    """Clips by genre as the label files name them, and by class after the mapping."""
    classes = {side: Counter() for side in SIDES}
    width = max((len(name) for name in [*genres, *(row["class"] or "" for row in genres.values())]), default=0)
    width = max(width, len("total"))
    print(f"\n{'genre':{width}}  {'train':>6} {'test':>6}  class after the mapping")
    for genre, row in genres.items():
        name = {None: "- (dropped)", "?": "? (not in the table)"}.get(row["class"], row["class"])
        print(f"{genre:{width}}  {row['train']:6} {row['test']:6}  {name}")
        for side in SIDES:
            classes[side][row["class"]] += row[side]
    print(f"{'total':{width}}  {classes['train'].total():6} {classes['test'].total():6}")
    print(f"\n{'class':{width}}  {'train':>6} {'test':>6}")
    kept = sorted({row["class"] for row in genres.values()} - {None, "?"})
    for name in kept:
        print(f"{name:{width}}  {classes['train'][name]:6} {classes['test'][name]:6}")
    print(f"{'total':{width}}  " + " ".join(f"{sum(classes[side][name] for name in kept):6}" for side in SIDES) + "\n")


def print_axes(axes):
    """How the emotion labels are spread; whoever always says the mean has the variance as mean squared error."""
    print(f"{'axis':12} {'min':>6} {'mean':>6} {'max':>6} {'variance':>9}")
    for axis, (low, mean, high, variance) in axes.items():
        print(f"{axis:12} {low:6.3f} {mean:6.3f} {high:6.3f} {variance:9.4f}")


def count_clips(sides, folder):
    """Clips on disk, of both sides, at full length, or beat-synced where no others are there."""
    found = [sum(len(sides[f"{name}/{side}"]["ids"]) for side in SIDES) for name in (folder, f"{folder}_beat") if f"{name}/train" in sides]
    return found[0] if found else 0


def print_findings(survey):
    """Names every file at fault. Returns {kind: how many} for errors, missing, unreadable and unlabelled."""
    findings = {"errors": survey["errors"]}
    for kind in ("missing", "unreadable", "unlabelled"):
        findings[kind] = [text for side in survey["sides"].values() for text in side[kind]]
    for kind, texts in {**findings, "note": survey["notes"]}.items():
        for text in texts:
            print(f"{kind.removesuffix('s'):13} : {text}")
    totals = {kind: len(texts) for kind, texts in findings.items()}
    print(f"{'in all':13} : " + ", ".join(f"{number} {kind}" for kind, number in totals.items()))
    return totals


if __name__ == "__main__":
    run_script(main)

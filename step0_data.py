"""Step 0: what is here? Counts and checks the lab's data, and names every file that is missing or damaged.

    python step0_data.py
    python step0_data.py --data DIR --headers
    python step0_data.py --demo --seconds 10 --scale 1
    python step0_data.py --kaggle
    python step0_data.py --zip archive.zip
    python step0_data.py --audio MUSIC --data my_data

Needs no earlier step. --demo composes the demo music first, into demo_data/ or into --data DIR; --kaggle and --zip
bring the lab's data,
--audio your own. Exit code 1 when a labelled file is missing, a file is unreadable, a label file is broken, or one of
the lab's four folders is not there. Reading all of the lab's data takes minutes (8 GB), --headers seconds. Writes
runs/step0_data/<variant>/: log and survey.json.
"""

from argparse import ArgumentTypeError
from pathlib import Path

from common.cli import file_path, positive, run_script, start_run, step_parser
from common.errors import LabError
from common.files import write_json
from common.locations import EMOTIONS, GENRES, REPOSITORY, find_data, lab_data
from common.report import print_results
from extras.demo.folder import compose_demo, demo_folder
from extras.own_data.audio import import_audio
from extras.own_data.kaggle import compare_counts, download, unpack
from extras.own_data.survey import survey_data
from extras.own_data.survey_report import count_clips, print_axes, print_findings, print_genres, print_splits
from extras.writeup.numbers import STEP0_DATA

STEP = "step0_data"


def main(argv=None):
    args = parse_flags(argv)
    data = brought_data(args)
    how = "headers" if args.headers else "values"
    with start_run(args, STEP, "Step 0: what lies in the data folder", data, args.seed, how) as run:
        result, problems = look_and_report(args, data, run)
    if not problems and (args.audio or args.kaggle or args.zip):
        print(
            f"next          : python step7_cnn.py{'' if data.path == REPOSITORY / 'data' else f' --data {data.path}'}"
        )
    rows = print_results(STEP, data, args.mode, [args.seed], [[result]])
    if problems:
        raise LabError(
            f"{data.path}: the lab's data whole and readable were expected; {problems}, as listed above and in {run.folder}"
        )
    return rows


def parse_flags(argv):
    parser = step_parser(__doc__)
    parser.add_argument(
        "--headers", action="store_true", help="judge each file by header and size, without reading its values"
    )
    bring = parser.add_mutually_exclusive_group()
    bring.add_argument(
        "--demo", action="store_true", help="compose demo music by --seed, into --data DIR where that is given"
    )
    bring.add_argument(
        "--kaggle", action="store_true", help="fetch the lab's data (needs requirements-kaggle.txt and about 8 GB)"
    )
    bring.add_argument(
        "--zip",
        type=file_path,
        metavar="FILE",
        help="unpack Kaggle's zip of the lab's data into --data DIR (default: data/)",
    )
    bring.add_argument(
        "--audio",
        type=file_path,
        metavar="DIR",
        help="turn DIR/<genre>/*.mp3|wav|flac|ogg|au into the lab's layout under --data (needs requirements-audio.txt); DIR may be a CSV "
        "of such files, its first line naming the columns: file, genre, valence, energy, danceability, artist",
    )
    parser.add_argument(
        "--seconds", type=positive, metavar="S", help="of a clip, with --demo (default: 10) or --audio (30, its middle)"
    )
    parser.add_argument(
        "--scale", type=positive, metavar="X", help="with --demo: number of clips (default: 1; 4.5 gives the lab's)"
    )
    parser.add_argument(
        "--test-share",
        type=share,
        metavar="X",
        help="with --audio: part of each genre for the test split (default: 0.2)",
    )
    args = parser.parse_args(argv)
    if (args.scale or (args.seconds and not args.audio)) and not args.demo:
        parser.error(
            "--seconds and --scale say how demo music is composed: --demo was expected beside them, or --audio beside --seconds"
        )
    if args.test_share and not args.audio:
        parser.error("--test-share says how your own music is split: --audio was expected beside it")
    if args.audio and not args.data:
        parser.error("--audio: a new folder to write to, --data DIR, was expected beside it")
    if args.kaggle and args.data:
        parser.error(
            "--kaggle keeps the data in kagglehub's folder, KAGGLEHUB_CACHE names another: no --data was expected beside it"
        )
    return args


def share(text):
    """An argparse type: a number above 0 and below 1."""
    value = positive(text)
    if value >= 1:
        raise ArgumentTypeError(f"a number below 1 was expected, not {text!r}")
    return value


def brought_data(args):
    """The data to look at, as LabData: first composed, fetched, unpacked or extracted where a flag asks for it."""
    given = Path(args.data).expanduser() if args.data else None
    choices = {
        name: getattr(args, name) for name in ("seconds", "scale", "test_share") if getattr(args, name) is not None
    }
    if args.demo:
        compose_demo(given or REPOSITORY / "demo_data", seed=args.seed, **choices)
        return lab_data(given or REPOSITORY / "demo_data", "--demo")
    if args.audio:
        found = import_audio(args.audio, given, seed=args.seed, **choices)
        for file, why in found["skipped"]:
            print(f"skipped       : {file}: {why}")
        print(f"your own music: {found['clips']} clips in {given}, {len(found['skipped'])} files skipped")
        return lab_data(given, "--audio")
    if args.kaggle:
        return find_data(download())
    return find_data(unpack(args.zip, given or REPOSITORY / "data") if args.zip else args.data, demo=demo_folder)


def look_and_report(args, data, run):
    """Prints and saves the survey. Returns the figures of the RESULT line, and the problems in words, empty where there
    are none.
    """
    print(f"it holds   : {', '.join(sorted(path.name for path in data.path.iterdir()))}")
    survey = survey_data(data, args.headers)
    write_json(run.folder / "survey.json", survey)

    print_splits(survey["splits"])
    print_genres(survey["genres"])
    print_axes(survey["axes"])

    classes = {row["class"] for row in survey["genres"].values()} - {None, "?"}
    clips = {
        name: count_clips(survey["splits"], folder)
        for name, folder in (("genre_clips", GENRES), ("multitask_clips", EMOTIONS))
    }
    print(
        f"\ngenre set     : {clips['genre_clips']} clips of {len(survey['genres'])} genres, {len(classes)} classes after the mapping"
    )
    print(f"multitask set : {clips['multitask_clips']} clips")
    print("write-up      : {genre_clips} clips of {genres} genres, and {multitask_clips} clips".format(**STEP0_DATA))
    print(f"which set     : {survey['which']}\n")

    counts = compare_counts(survey["splits"]) if args.kaggle or args.zip else []
    survey["notes"] += counts
    totals = print_findings(survey) | {"counts": len(counts)}
    result = {**clips, "missing": totals["missing"], "unreadable": totals["unreadable"]}
    run.finish(result)
    words = {
        "missing": "missing labelled files",
        "unreadable": "unreadable files",
        "errors": "absent folders or broken label files",
    }
    words["counts"] = "splits of another size than the lab's"
    return result, ", ".join(f"{totals[name]} {text}" for name, text in words.items() if totals[name])


if __name__ == "__main__":
    run_script(main)

"""Step 0: which data are there? Counts and checks the lab's data, and names every missing or damaged file.

    python step0_data.py
    python step0_data.py --data DIR --headers
    python step0_data.py --demo --seconds 10 --scale 1
    python step0_data.py --kaggle
    python step0_data.py --zip archive.zip
    python step0_data.py --audio MUSIC --data my_data

Needs no earlier step. --demo first composes demo music into demo_data/ or --data DIR; --kaggle and --zip get the lab's
data, --audio imports your own. Exit code 1 if a labelled file or one of the lab's four folders is missing, a file is
unreadable or a label file is broken. Reading all of the lab's data takes minutes (8 GB), --headers seconds. Writes
runs/step0_data/<variant>/: log and survey.json.
"""

import shlex
from argparse import ArgumentTypeError
from pathlib import Path

from common.cli import file_path, positive, run_script, start_run, step_parser
from common.errors import LabError
from common.files import write_json
from common.locations import EMOTIONS, GENRES, REPOSITORY, find_data, lab_data
from common.progress import explain
from common.report import print_results
from extras.demo.folder import compose_demo, demo_folder
from extras.own_data.audio import import_audio
from extras.own_data.kaggle import compare_counts, download, unpack
from extras.own_data.listing import print_skipped
from extras.own_data.survey import survey_data
from extras.own_data.survey_report import count_clips, print_axes, print_genres, print_problems, print_splits
from extras.writeup.numbers import STEP0_DATA

STEP = "step0_data"

# What flags of all steps mean in this one:
DATA = "folder to check, or the one that --demo, --zip or --audio writes (default: as in every step)"
DEMO = "compose demo music into demo_data/ or --data DIR"
CACHE = "where checksums of the files are kept (default: cache/)"
NO_CACHE = "read each file for its checksum, and keep none"
SEED = "of --demo's music and of --audio's test split (default: %(default)s)"


def main(argv=None):
    args = parse_flags(argv)
    data, imported = get_data(args)
    how = "headers" if args.headers else "values"
    title, content = "Step 0: what is in the data folder", not args.headers
    with start_run(args, STEP, title, data, args.seed, how, content=content) as run:
        result, problems = survey_and_report(args, data, run, imported)
    if not problems and (args.audio or args.kaggle or args.zip):
        option = "" if data.path == REPOSITORY / "data" else f" --data {shlex.quote(str(data.path))}"
        print(f"next          : python step7_cnn.py{option}")
    rows = print_results(STEP, data, args.mode, [args.seed], [[result]])
    if problems:
        found = f"there are {problems}; see above or {run.folder}"
        raise LabError(f"{data.path}: the lab's data, complete and readable, were expected, but {found}")
    return rows


def parse_flags(argv):
    parser = step_parser(__doc__)
    parser.composes = True
    headers = "check each file by header and size, without reading its values"
    parser.add_argument("--headers", action="store_true", help=headers)
    source = parser.add_mutually_exclusive_group()
    kaggle = "download the lab's data (needs requirements-kaggle.txt and about 8 GB)"
    source.add_argument("--kaggle", action="store_true", help=kaggle)
    archive = "unpack Kaggle's zip of the lab's data into --data DIR (default: data/)"
    source.add_argument("--zip", type=file_path, metavar="FILE", help=archive)
    audio = (
        "import DIR/<genre>/*.mp3|wav|flac|ogg|... into --data (needs requirements-audio.txt); DIR may be a CSV table "
        "whose first line names the columns: file, genre, valence, energy, danceability, artist, split"
    )
    source.add_argument("--audio", type=file_path, metavar="DIR", help=audio)
    seconds = "length of a clip, with --demo (default: 10) or --audio (default: the middle 30)"
    parser.add_argument("--seconds", type=positive, metavar="S", help=seconds)
    scale = "with --demo: number of clips, relative to the default of 1; 4.5 gives the lab's"
    parser.add_argument("--scale", type=positive, metavar="X", help=scale)
    test_share = "with --audio: fraction of each genre's clips in the test split (default: 0.2)"
    parser.add_argument("--test-share", type=fraction, metavar="X", help=test_share)
    explain(parser, data=DATA, demo=DEMO, cache=CACHE, no_cache=NO_CACHE, seed=SEED)
    args = parser.parse_args(argv)
    if args.demo and (args.kaggle or args.zip or args.audio):
        parser.error("argument --demo: not allowed with --kaggle, --zip or --audio")
    if args.scale and not args.demo:
        parser.error("--scale: --demo was expected with it")
    if args.seconds and not (args.demo or args.audio):
        parser.error("--seconds: --demo or --audio was expected with it")
    if args.test_share and not args.audio:
        parser.error("--test-share: --audio was expected with it")
    if args.audio and not args.data:
        parser.error("--audio: a new folder to write to, --data DIR, was expected with it")
    if args.kaggle and args.data:
        parser.error("--kaggle: no --data was expected with it; KAGGLEHUB_CACHE sets the folder of the download")
    return args


def fraction(text):
    """An argparse type: a number above 0 and below 1."""
    value = positive(text)
    if value >= 1:
        raise ArgumentTypeError(f"a number below 1 was expected, not {text!r}")
    return value


def get_data(args):
    """The LabData to survey, first composed, downloaded, unpacked or imported if a flag asks for it; what --audio found.

    What --audio found is as import_audio returns it, else None.
    """
    given = Path(args.data).expanduser() if args.data else None
    choices = {"seconds": args.seconds, "scale": args.scale, "test_fraction": args.test_share}
    choices = {name: value for name, value in choices.items() if value is not None}
    if args.demo:
        compose_demo(given or REPOSITORY / "demo_data", seed=args.seed, **choices)
        return lab_data(given or REPOSITORY / "demo_data", "--demo"), None
    if args.audio:
        imported = import_audio(args.audio, given, seed=args.seed, **choices)
        return lab_data(given, "--audio"), imported
    if args.kaggle:
        return find_data(download()), None
    return find_data(unpack(args.zip, given or REPOSITORY / "data") if args.zip else args.data, demo=demo_folder), None


def survey_and_report(args, data, run, imported):
    """Prints and saves the survey. Returns the values of the RESULT line, and a text that counts the problems.

    imported: what import_audio returns, or None.
    """
    if imported:
        print_skipped(imported["skipped"])
        for note in imported["notes"]:
            print(f"note          : {note}")
        print(f"your own music: {imported['clips']} clips in {args.data}, {len(imported['skipped'])} files skipped")
    print(f"contents   : {', '.join(sorted(path.name for path in data.path.iterdir()))}")
    survey = survey_data(data, args.headers)
    write_json(run.folder / "survey.json", survey | ({"audio": imported} if imported else {}))

    print_splits(survey["splits"])
    print_genres(survey["genres"])
    print_axes(survey["axes"])

    classes = {row["class"] for row in survey["genres"].values()} - {None, "?"}
    clips = {
        name: count_clips(survey["splits"], folder)
        for name, folder in (("genre_clips", GENRES), ("multitask_clips", EMOTIONS))
    }
    mapped = f"{len(survey['genres'])} genres, {len(classes)} classes after the mapping"
    print(f"\ngenre set     : {clips['genre_clips']} clips of {mapped}")
    print(f"multitask set : {clips['multitask_clips']} clips")
    print("write-up      : {genre_clips} clips of {genres} genres, and {multitask_clips} clips".format(**STEP0_DATA))
    print(f"which set     : {survey['which']}\n")

    counts = compare_counts(survey["splits"]) if args.kaggle or args.zip else []
    survey["notes"] += counts
    totals = print_problems(survey) | {"counts": len(counts)}
    result = {**clips, "missing": totals["missing"], "unreadable": totals["unreadable"]}
    if imported:
        result["skipped"] = len(imported["skipped"])
    run.finish(result)
    names = {
        "missing": "missing labelled files",
        "unreadable": "unreadable files",
        "errors": "missing folders or broken label files",
        "counts": "splits of another size than the lab's",
    }
    return result, ", ".join(f"{totals[name]} {text}" for name, text in names.items() if totals[name])


if __name__ == "__main__":
    run_script(main)

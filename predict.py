"""Genre, valence, energy and danceability of songs, by the networks that steps 7 and 10 have trained.

    python predict.py song.mp3
    python predict.py *.mp3 --json > answers.json
    python predict.py song.mp3 --figure song.png
    python predict.py 1042.fused.full.npy --checkpoint runs/step7_cnn/mel_seed0/best.pt

Needs a finished run of step7_cnn.py or step10_multitask.py in --out, or checkpoints by --checkpoint; for audio also
requirements-audio.txt. A song is cut into windows as long as the clips that the network was trained on, and the
predictions for the windows are averaged. Writes nothing but the figure of --figure, which replaces no other file. Exit
code 1 if a song cannot be read; the others are predicted all the same.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from common.cli import OneSentenceParser, positive, run_script
from common.errors import LabError
from common.features import COLUMNS
from common.files import check_own, file_path, write_own
from common.labels import clip_id
from common.plots import png
from common.spectrogram_plots import FRAME_SECONDS
from extras.inside.measure import occlusion, region_text
from extras.songs.files import matching
from extras.songs.frames import read_song, with_sound
from extras.songs.networks import frames_in, newest_checkpoints, open_trained, predict_windows, window_of, window_starts
from extras.songs.plots import song_figure

WINDOW_PARTS = (10, 8)  # occlusion hides a tenth of a window in an eighth of its mel bands at a time, as in step 7a
LONGEST_WINDOW = 3600  # s
DEMO_NOTE = "DEMO MUSIC: the network was trained on generated music; its predictions mean nothing for a real song"
SHORT = 0.95  # of a window's length; the lab's own clips differ by a frame or two
TRAIN_NOTE = "the network was trained with a clip of this id"


def main(argv=None):
    args = parse_flags(argv)
    networks = [open_trained(path) for path in args.checkpoint or newest_checkpoints(args.out)]
    by_task = {task: [network for network in networks if network.task == task] for task in ("genre", "axes")}
    check_same_classes(by_task["genre"])
    if args.figure and not (by_task["genre"] and by_task["genre"][0].columns == COLUMNS["mel"]):
        raise LabError("--figure: a network for genres on mel spectrograms was expected, a checkpoint of step7_cnn.py")
    if not args.json:
        for network in networks:
            step, epoch, data_path = (network.metadata.get(key) for key in ("step", "epoch", "data_path"))
            print(f"network    : {network.path}, {step}, epoch {epoch}, trained on {data_path}")
    answers = [predict_song(name, by_task, args) for name in args.songs]
    if args.json:
        print(json.dumps(answers, ensure_ascii=False, indent=1, allow_nan=False))
    problems = [answer["error"] for answer in answers if "error" in answer]
    if len(problems) > 1:
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        raise LabError(f"{len(problems)} of {len(answers)} songs cannot be read; each is named above")
    if problems:
        raise LabError(problems[0])
    return answers


def parse_flags(argv):
    parser = OneSentenceParser(description=__doc__)
    songs_help = "audio files, or features in the lab's format, .npy or .npy.gz"
    parser.add_argument("songs", nargs="+", metavar="SONG", help=songs_help)
    checkpoint_help = "checkpoints to use; several for the same task are averaged"
    parser.add_argument("--checkpoint", nargs="+", metavar="FILE", help=checkpoint_help)
    out_help = "where the newest runs of steps 7 and 10 are looked up (default: %(default)s)"
    parser.add_argument("--out", metavar="ROOT", default="runs", help=out_help)
    window_help = "length of a window (default: of the network's training clips)"
    parser.add_argument("--window", type=positive, metavar="S", help=window_help)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    figure_help = "PNG of one song: spectrogram, genre over time, the region that decided"
    parser.add_argument("--figure", type=file_path, metavar="FILE", help=figure_help)
    args = parser.parse_intermixed_args(argv)
    args.songs = [path for name in args.songs for path in matching(name)]
    if args.figure and len(args.songs) > 1:
        parser.error("--figure draws one song: a single SONG was expected")
    if args.figure is not None:
        check_own(args.figure, "--figure")
    if args.window is not None and args.window > LONGEST_WINDOW:
        parser.error(f"--window {args.window:g}: at most {LONGEST_WINDOW} s were expected")
    if args.window is not None and frames_in(args.window) < 16:
        least = f"at least {15 * FRAME_SECONDS:.2f} s were expected"
        parser.error(f"--window {args.window:g}: {least}, the CNN's four poolings need 16 frames")
    return args


def check_same_classes(networks):
    """LabError where networks that would be averaged have different genres."""
    for network in networks[1:]:
        if network.metadata["classes"] != networks[0].metadata["classes"]:
            expected = f"the genres of {networks[0].path} were expected"
            raise LabError(f"{network.path}: {expected}, since the two would be averaged")


def predict_song(name, by_task, args):
    """The predictions for one song as a dict, printed unless --json; {"file", "error"} where it cannot be read."""
    try:
        song = read_song(name)
    except LabError as error:
        return {"file": name, "error": str(error)}
    answer = {"file": name, "seconds": round(len(song.frames) * FRAME_SECONDS, 1)}
    notes = list(song.notes)
    if by_task["genre"]:
        windows, probabilities, found = mean_outputs(by_task["genre"], song, args.window)
        notes += found
        classes, means = by_task["genre"][0].metadata["classes"], probabilities.mean(axis=0)
        order = means.argsort()[::-1]
        answer["genre"] = classes[order[0]]
        answer["genres"] = {classes[number]: round(float(means[number]), 4) for number in order}
        answer["windows"] = len(windows[0])
    if by_task["axes"]:
        answer["emotions"], answer["windows"], found = emotions_of(by_task["axes"], song, args.window)
        notes += found
    networks = by_task["genre"] + by_task["axes"]
    answer["networks"] = [str(network.path) for network in networks]
    notes += [DEMO_NOTE] * any(network.metadata.get("demo") for network in networks)
    if Path(name).suffix in (".npy", ".gz") and any(
        clip_id(Path(name).name) in network.metadata.get("train_ids", []) for network in networks
    ):
        notes.append(TRAIN_NOTE)
    answer["notes"] = list(dict.fromkeys(notes))
    if args.figure:
        answer["decided"] = draw_song(
            args.figure, name, by_task["genre"][0], song.frames, windows, probabilities, answer
        )
    if not args.json:
        print_answer(answer)
    return answer


def mean_outputs(networks, song, seconds):
    """((starts of the windows, their length in frames), the networks' mean output for each window (n, C), notes)."""
    wanted = frames_in(seconds) if seconds else networks[0].clip_frames
    length = min(wanted, len(song.frames))
    starts, notes = with_sound(window_starts(len(song.frames), length), length, song.loud)
    outputs = [predict_windows(network, song.frames, starts, length) for network in networks]
    if length < SHORT * wanted:
        notes.append(f"the song is shorter than a window, {wanted * FRAME_SECONDS:.1f} s")
    return (starts, length), np.mean(outputs, axis=0), notes


def emotions_of(networks, song, seconds):
    """({axis: value}, number of windows, notes): the mean over windows and over all networks with this axis."""
    values, notes = {}, []
    for network in networks:
        (starts, _), outputs, found = mean_outputs([network], song, seconds)
        notes += found
        for axis, value in zip(network.metadata["classes"], outputs.mean(axis=0), strict=True):
            values.setdefault(axis, []).append(value)
    return {axis: round(float(np.mean(found)), 4) for axis, found in values.items()}, len(starts), notes


def draw_song(path, name, network, frames, windows, probabilities, answer):
    """Draws the figure; returns a text on the region that the predicted genre depends on most.

    The region is searched by occlusion in the window with the highest probability of that genre.
    """
    (starts, length), classes = windows, network.metadata["classes"]
    target = classes.index(answer["genre"])
    start = starts[int(probabilities[:, target].argmax())]
    clip = torch.from_numpy(window_of(frames, start, length)[:, network.columns])
    regions = [
        region._replace(frames=slice(start + region.frames.start, start + region.frames.stop))
        for region in occlusion(network.model, clip, target, WINDOW_PARTS)
    ]
    most = max(regions, key=lambda region: region.drop)
    emotions = "".join(f", {axis} {value:.2f}" for axis, value in answer.get("emotions", {}).items())
    title = f"{Path(name).name}: {answer['genre']} with probability {answer['genres'][answer['genre']]:.2f}{emotions}"
    figure = song_figure(frames, starts, length, probabilities, classes, regions, most, title)
    if network.metadata.get("demo"):
        style = {"ha": "right", "va": "bottom", "fontsize": 8, "color": "grey"}
        figure.text(0.998, 0.002, "by a network trained on demo music", **style)
    write_own(path, png(figure), "--figure")
    if most.drop <= 0:
        return f"no single region: hiding any of {len(regions)} made {answer['genre']} no less likely"
    return f"{region_text(most)}: hiding it lowers the log-probability of {answer['genre']} there by {most.drop:.3f}"


def print_answer(answer):
    print(f"\n{answer['file']}: {answer['seconds']} s in {answer['windows']} window{'s' * (answer['windows'] > 1)}")
    for genre, probability in answer.get("genres", {}).items():
        print(f"  {genre:14} {probability:.3f}  {'#' * round(40 * probability)}")
    for axis, value in answer.get("emotions", {}).items():
        print(f"  {axis:14} {value:.3f}")
    if "decided" in answer:
        print(f"  {'decided by':14} {answer['decided']}")
    for note in answer["notes"]:
        print(f"  {note}")
    sys.stdout.flush()


if __name__ == "__main__":
    run_script(main)

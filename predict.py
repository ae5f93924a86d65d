"""What is this song? Genres, valence, energy and danceability of songs, by the networks that steps 7 and 10 have
trained.

    python predict.py song.mp3
    python predict.py *.mp3 --json > answers.json
    python predict.py song.mp3 --figure song.png
    python predict.py 1042.fused.full.npy --checkpoint runs/step7_cnn/mel_seed0/best.pt

Needs a finished run of step7_cnn.py or step10_multitask.py in --out, or checkpoints by --checkpoint; for audio also
requirements-audio.txt. A song is cut into windows as long as the clips that the network was trained on, and its answers
for them are averaged. Writes nothing but the picture that --figure asks for. Exit code 1 where a song cannot be read;
the others are answered all the same.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from common.cli import OneSentenceParser, positive, run_script
from common.errors import LabError
from common.features import COLUMNS
from common.files import write_atomically
from common.labels import clip_id
from common.plots import png
from common.reading import read_fused_spectrogram
from common.spectrogram_plots import FRAME_SECONDS
from extras.inside.measure import occlusion, region_text
from extras.own_data.extract import read_sound, require_audio, song_frames
from extras.songs.networks import ask, frames_in, newest_checkpoints, open_trained, window_of, window_starts
from extras.songs.plots import song_figure

WINDOW_PARTS = (10, 8)  # occlusion hides a tenth of a window in an eighth of its bands at a time, as in step 7a
DEMO_NOTE = "DEMO MUSIC: the network was trained on music that a program composed; its answer says nothing about a song"
SEEN_NOTE = "a clip of this id was among those that the network was trained with"


def main(argv=None):
    args = parse_flags(argv)
    networks = [open_trained(path) for path in args.checkpoint or newest_checkpoints(args.out)]
    tellers = {kind: [network for network in networks if network.tells == kind] for kind in ("genre", "axes")}
    refuse_unlike(tellers["genre"])
    if args.figure and not (tellers["genre"] and tellers["genre"][0].columns == COLUMNS["mel"]):
        raise LabError("--figure: a network for genres on mel spectrograms was expected, a checkpoint of step7_cnn.py")
    if not args.json:
        for network in networks:
            about = network.metadata
            print(
                f"network    : {network.path}, {about.get('step')}, epoch {about.get('epoch')}, trained on {about.get('data_path')}"
            )
    answers = [answered(name, tellers, args) for name in args.songs]
    if args.json:
        print(json.dumps(answers, ensure_ascii=False, indent=1, allow_nan=False))
    problems = [answer["error"] for answer in answers if "error" in answer]
    if problems:
        raise LabError("; ".join(problems))
    return answers


def parse_flags(argv):
    parser = OneSentenceParser(description=__doc__)
    parser.add_argument(
        "songs", nargs="+", metavar="SONG", help="audio files, or .npy and .npy.gz features of the lab's form"
    )
    parser.add_argument(
        "--checkpoint", nargs="+", metavar="FILE", help="these networks, several for one question being averaged"
    )
    parser.add_argument(
        "--out",
        metavar="ROOT",
        default="runs",
        help="where the newest runs of steps 7 and 10 are (default: %(default)s)",
    )
    parser.add_argument(
        "--window", type=positive, metavar="S", help="of windows (default: a training clip's, 30 s or the demo music's)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument(
        "--figure", metavar="FILE", help="a PNG for one song: spectrogram, genre over time, the region that decided"
    )
    args = parser.parse_intermixed_args(argv)
    if args.figure and len(args.songs) > 1:
        parser.error("--figure draws one song: a single SONG was expected beside it")
    if args.window is not None and frames_in(args.window) < 16:
        parser.error(
            f"--window {args.window:g}: at least {15 * FRAME_SECONDS:.2f} s were expected, the CNN's four poolings need 16 frames"
        )
    return args


def refuse_unlike(networks):
    """LabError where networks that are to be averaged tell different genres apart."""
    for network in networks[1:]:
        if network.metadata["classes"] != networks[0].metadata["classes"]:
            raise LabError(
                f"{network.path}: the genres of {networks[0].path} were expected, since the two would be averaged"
            )


def answered(name, tellers, args):
    """The answer for one song, printed too unless --json is given; {"file", "error"} where it cannot be read."""
    try:
        frames = read_song(name)
    except LabError as error:
        return {"file": name, "error": str(error)}
    answer = {"file": name, "seconds": round(len(frames) * FRAME_SECONDS, 1)}
    if tellers["genre"]:
        windows, chances = asked(tellers["genre"], frames, args.window)
        classes, means = tellers["genre"][0].metadata["classes"], chances.mean(axis=0)
        order = means.argsort()[::-1]
        answer |= {
            "genre": classes[order[0]],
            "genres": {classes[number]: round(float(means[number]), 4) for number in order},
        }
        answer["windows"] = len(windows[0])
    if tellers["axes"]:
        answer["emotions"], answer["windows"] = emotions_of(tellers["axes"], frames, args.window)
    networks = tellers["genre"] + tellers["axes"]
    answer["networks"] = [str(network.path) for network in networks]
    answer["notes"] = [DEMO_NOTE] * any(network.metadata.get("demo") for network in networks)
    if Path(name).suffix in (".npy", ".gz") and any(
        clip_id(Path(name).name) in network.metadata.get("train_ids", []) for network in networks
    ):
        answer["notes"].append(SEEN_NOTE)
    if args.figure:
        answer["decided"] = draw(args.figure, name, tellers["genre"][0], frames, windows, chances, answer)
    if not args.json:
        print_comparison(answer)
    return answer


def read_song(name):
    """A song's frames (T, 140) float32, mel in dB over chroma, from audio or from features."""
    if name.endswith((".npy", ".npy.gz")):
        return read_fused_spectrogram(name)
    require_audio()
    return song_frames(read_sound(name))


def asked(networks, frames, seconds):
    """((window starts, their length in frames), mean of what these networks say to each window, (n, C))."""
    length = min(frames_in(seconds or networks[0].clip_seconds), len(frames))
    starts = window_starts(len(frames), length)
    return (starts, length), np.mean([ask(network, frames, starts, length) for network in networks], axis=0)


def emotions_of(networks, frames, seconds):
    """({axis: value}, number of windows): the mean over windows and over all networks that tell this axis."""
    values = {}
    for network in networks:
        (starts, _), outputs = asked([network], frames, seconds)
        for axis, value in zip(network.metadata["classes"], outputs.mean(axis=0), strict=True):
            values.setdefault(axis, []).append(value)
    return {axis: round(float(np.mean(found)), 4) for axis, found in values.items()}, len(starts)


def draw(path, name, network, frames, windows, chances, answer):
    """Draws the picture; returns the region in words that the likeliest genre rests on, in the window where it is
    likeliest.
    """
    (starts, length), classes = windows, network.metadata["classes"]
    target = classes.index(answer["genre"])
    start = starts[int(chances[:, target].argmax())]
    clip = torch.from_numpy(window_of(frames, start, length)[:, network.columns])
    regions = [
        region._replace(frames=slice(start + region.frames.start, start + region.frames.stop))
        for region in occlusion(network.model, clip, target, WINDOW_PARTS)
    ]
    most = max(regions, key=lambda region: region.drop)
    emotions = "".join(f", {axis} {value:.2f}" for axis, value in answer.get("emotions", {}).items())
    title = f"{Path(name).name}: {answer['genre']} with probability {answer['genres'][answer['genre']]:.2f}{emotions}"
    figure = song_figure(frames, starts, length, chances, classes, regions, most, title)
    if network.metadata.get("demo"):
        figure.text(
            0.998, 0.002, "by a network trained on demo music", ha="right", va="bottom", fontsize=8, color="grey"
        )
    write_atomically(path, png(figure))
    if most.drop <= 0:
        return f"no single region: {answer['genre']} became less likely under none of {len(regions)} windows"
    return f"{region_text(most)}: hidden, it lowers the log-probability of {answer['genre']} there by {most.drop:.3f}"


def print_comparison(answer):
    print(f"\n{answer['file']}: {answer['seconds']} s in {answer['windows']} window{'s' * (answer['windows'] > 1)}")
    for genre, chance in answer.get("genres", {}).items():
        print(f"  {genre:14} {chance:.3f}  {'#' * round(40 * chance)}")
    for axis, value in answer.get("emotions", {}).items():
        print(f"  {axis:14} {value:.3f}")
    if "decided" in answer:
        print(f"  {'decided by':14} {answer['decided']}")
    for note in answer["notes"]:
        print(f"  {note}")
    sys.stdout.flush()


if __name__ == "__main__":
    run_script(main)

"""The command line that the steps share: flags, their checks, and how a step starts and ends."""

import argparse
import math
import sys
from contextlib import contextmanager
from pathlib import Path

import torch

from common.baselines import add_baselines_flag
from common.cache import add_cache_flags, cached
from common.checkpoints import add_pretrained_flag
from common.checks import add_overfit_flag
from common.errors import LabError
from common.files import file_path
from common.former import add_former_flags
from common.locations import REPOSITORY
from common.report import print_header
from common.resume import RESUME, add_resume_flag, how_to_go_on
from common.run import open_run
from common.submission import add_submit_flags, check_submit_path
from common.training import use_huge_pages

QUICK_CLIPS = 160  # of each split in a dry run: five batches of 32, a third of the training split's for validation


def step_parser(description, epochs=None, lr=None, batch_size=32, overfit=True, submit=False, pretrained=False):
    """A parser with the flags that all steps share and, where `epochs` is given, those of whatever trains.

    epochs, lr: the defaults, or {model: default} in a step that trains several; args.epochs and args.lr come back in
    that form.
    overfit: with --overfit-batch; submit: with the flags for the competition's file; pretrained: with --pretrained.
    parse_args checks what belongs together and adds `mode`: full, quick or overfit.
    """
    parser = StepParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--data",
        type=file_path,
        metavar="DIR",
        help="the lab's data folder (default: data/ here, Kaggle's input, else demo music where the script composes it)",
    )
    add_cache_flags(parser)
    parser.add_argument(
        "--seed",
        type=whole(0, 2**32 - 1),
        default=0,
        help="split, initial weights and batch order (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=file_path,
        metavar="ROOT",
        default="runs",
        help="runs in ROOT/<step>/<variant>/ (default: %(default)s)",
    )
    if epochs is None:
        return parser
    parser.defaults = {"epochs": epochs, "lr": lr}
    parser.add_argument(
        "--seeds", type=whole(1), default=1, metavar="N", help="run N seeds from --seed on, report means and deviations"
    )
    parser.add_argument("--epochs", type=whole(1), help=f"passes over the training clips (default: {by_model(epochs)})")
    parser.add_argument(
        "--batch-size", type=whole(1), default=batch_size, help="clips in a batch (default: %(default)s)"
    )
    parser.add_argument("--lr", type=positive, help=f"Adam's learning rate (default: {by_model(lr)})")
    add_baselines_flag(parser)
    names = "cpu, cuda or PyTorch's name of another; auto is cuda where there is one (default: %(default)s)"
    parser.add_argument("--device", type=device, default="auto", help=names)
    add_former_flags(parser)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--quick",
        action="store_true",
        help=f"dry run: {QUICK_CLIPS} clips of each split, 2 epochs; says nothing about music",
    )
    if overfit:
        add_overfit_flag(mode)
    add_resume_flag(mode)
    if submit:
        add_submit_flags(parser)
    if pretrained:
        add_pretrained_flag(parser)
    return parser


class OneSentenceParser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


class StepParser(OneSentenceParser):
    """See step_parser; defaults: those of epochs and lr, which depend on the step."""

    def __init__(self, **options):
        super().__init__(**options)
        self.defaults = {}

    def parse_args(self, args=None, namespace=None):
        args = super().parse_args(args, namespace)
        args.mode = "quick" if getattr(args, "quick", False) else "full"
        if getattr(args, "overfit_batch", False):
            args.mode = "overfit"
        if self.defaults:
            if args.mode == "quick" and args.epochs is None:
                args.epochs = 2
            for name, default in self.defaults.items():
                setattr(args, name, chosen(getattr(args, name), default))
            args.seeds = [args.seed + k for k in range(args.seeds)]
            args.baselines = args.baselines and args.mode == "full"
            use_huge_pages()
        if getattr(args, "submit", None):
            if len(args.seeds) > 1:
                self.error("--submit writes one file: no --seeds was expected beside it")
            if args.mode != "full":
                self.error(
                    "--submit predicts every clip of the test split by a trained network: no dry run was expected beside it"
                )
            check_submit_path(args.submit, args.submit_header, args.submit_suffix)
        return args


def chosen(given, default):
    """The user's number, for every model where the default has one for each; else the default."""
    if given is None:
        return default
    return dict.fromkeys(default, given) if isinstance(default, dict) else given


def by_model(default):
    return ", ".join(f"{value} {name}" for name, value in default.items()) if isinstance(default, dict) else default


def reading_options(args):
    """How SpectrogramDataset reads under these arguments: its `at_most` and its `read`."""
    options = {"at_most": QUICK_CLIPS if getattr(args, "quick", False) else None}
    if not args.no_cache:
        options["read"] = cached(args.cache or REPOSITORY / "cache", build=options["at_most"] is None)
    return options


@contextmanager
def start_run(args, step, title, data, seed, *choices):
    """A run of a step with its header printed, `with start_run(args, STEP, "Step 7b: ...", data, seed, "mel") as run`;
    see open_run.

    choices: what tells it from other runs of the step, in the name of its folder.
    """
    variant = "_".join([*choices, f"seed{seed}", *([] if args.mode == "full" else [args.mode])])
    given = dict(vars(args))
    given.pop(RESUME, None)
    arguments = {**given, "seed": seed, "data": str(data.path), "out": str(Path(args.out).resolve())}
    metadata = {"mode": args.mode, "seed": seed, **data.metadata()}
    with open_run(
        Path(arguments["out"]) / step / variant, metadata, arguments, resume=getattr(args, "resume", None)
    ) as run:
        print_header(title, data, run)
        yield run


def run_script(main):
    """Runs a step's main and exits: 0 when it ended well, 1 behind one sentence for a LabError, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks Greek shows a '?' instead of ending the run
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sentence = "stopped by Ctrl-C"
        sentence += how_to_go_on()
        print(sentence, file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; Python would complain about it once more on the way out
        sys.exit(141)


def device(name):
    """An argparse type: PyTorch's name of a device that is there; auto is cuda where there is one, else the cpu."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1).to(name).cpu()
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
        raise argparse.ArgumentTypeError(f"a device of this machine was expected, such as cpu, not {name!r}") from error
    return name


def whole(smallest, largest=math.inf):
    """An argparse type: a whole number within these bounds."""

    def parse(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not smallest <= value <= largest:
            bounds = f"from {smallest}" + (f" to {largest}" if largest < math.inf else " on")
            raise argparse.ArgumentTypeError(f"a whole number {bounds} was expected, not {text!r}")
        return value

    return parse


def positive(text):
    """An argparse type: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"a number above 0 was expected, not {text!r}")
    return value

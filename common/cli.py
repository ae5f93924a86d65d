"""The command line that the steps share: flags, their checks, and how a step starts and ends."""

import argparse
import math
import shlex
import sys
from functools import partial

import torch

from common.cache import cached
from common.checkpoints import read_checkpoint
from common.errors import LabError
from common.locations import REPOSITORY
from common.recipes import RECIPES, SHARES, TUNED, changeable, recipe_of
from common.training import use_huge_pages

QUICK_CLIPS = 160  # of each side in a dry run: five batches of 32, a third of the training side's for validation


def step_parser(description, epochs=None, lr=None, batch_size=32, tuned=None):
    """A parser with --data --cache --no-cache --seed --out and, where `epochs` is given, the flags of whatever trains.

    epochs, lr: the write-up's, or {model: the write-up's} in a step that trains several; args.epochs and args.lr come back in that form.
    tuned: what the step's --recipe tuned is for, see common.recipes.changeable; None where it has no such recipe.
    """
    parser = OneSentenceParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--data", type=place, metavar="DIR", help="the lab's data folder (default: data/, Kaggle's input, else demo music)")
    parser.add_argument("--cache", type=place, metavar="DIR", help=f"where the packed cache lies (default: {REPOSITORY.name}/cache)")
    parser.add_argument("--no-cache", action="store_true", help="read the files into memory instead: same figures, slower, more memory")
    parser.add_argument("--seed", type=whole(0, 2**32 - 1), default=0, help="split, initial weights and batch order (default: %(default)s)")
    parser.add_argument("--out", type=place, metavar="ROOT", default="runs", help="runs in ROOT/<step>/<variant>/ (default: %(default)s)")
    if epochs is None:
        return parser
    parser.add_argument("--seeds", type=whole(1), default=1, metavar="N", help="run N seeds from --seed on, report means and deviations")
    parser.add_argument("--epochs", type=whole(0), help=f"passes over the training clips (default: {by_model(epochs)}, the write-up's)")
    parser.add_argument("--batch-size", type=whole(1), default=batch_size, help="clips in a batch (default: %(default)s)")
    parser.add_argument("--lr", type=positive, help=f"Adam's learning rate (default: {by_model(lr)})")
    parser.add_argument("--no-baselines", action="store_true", help="leave out the two models without a network, half a minute on 2 cores")
    names = "cpu, cuda or PyTorch's name of another; auto is cuda where there is one (default: %(default)s)"
    parser.add_argument("--device", type=device, default="auto", help=names)
    if tuned:
        parser.add_argument("--recipe", choices=RECIPES, default=RECIPES[0], help="tuned: what a competitor would run, see README")
        names = changeable(tuned)
        known = f"other numbers for the tuned recipe: {', '.join(names)}"
        change = partial(changed_number, names)
        parser.add_argument("--change", type=change, nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=known)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help=f"dry run: {QUICK_CLIPS} clips of each side, 2 epochs; says nothing about music")
    mode.add_argument("--overfit-batch", action="store_true", help="train on one batch alone until its loss is near 0, and give a verdict")
    mode.add_argument("--checkpoint", type=place, metavar="FILE", help="score this checkpoint instead of training (with --epochs 0)")
    mode.add_argument("--resume", action="store_true", help="go on after the last epoch that the same run in --out has saved")
    parser.set_defaults(defaults=(epochs, lr))
    return parser


def parse_arguments(parser, argv):
    """The resolved arguments of a step; whatever is impossible ends here, in one sentence and before any work."""
    args = parser.parse_args(argv)
    if not hasattr(args, "epochs"):
        return args
    epochs, lr = vars(args).pop("defaults")
    args.mode = "quick" if args.quick else "score" if args.checkpoint else "overfit" if args.overfit_batch else "full"
    if vars(args).get("recipe") == "tuned":
        if args.mode in ("score", "overfit"):
            parser.error("--recipe tuned trains and tests: no --checkpoint and no --overfit-batch was expected beside it")
        epochs, lr = TUNED["epochs"], TUNED["lr"]
        if len({text.split("=")[0] for text in args.change}) < len(args.change):
            parser.error("--change: each name was expected once")
    elif vars(args).get("change"):
        parser.error("--change is of the tuned recipe's numbers: --recipe tuned was expected beside it")
    if args.epochs is None and args.mode in ("quick", "score"):
        args.epochs = {"quick": 2, "score": 0}[args.mode]
    if args.checkpoint and args.epochs:
        parser.error("--checkpoint scores what is trained already: --epochs 0 was expected beside it")
    if args.epochs == 0 and not args.checkpoint:
        parser.error("--epochs 0 trains nothing: a --checkpoint FILE to score was expected beside it")
    if args.checkpoint and args.seeds > 1:
        parser.error("--checkpoint scores one network on the split of its own seed: no --seeds was expected beside it")
    take_from_checkpoint(args, "seed")  # which fixes the split
    args.epochs, args.lr = chosen(args.epochs, epochs), chosen(args.lr, lr)
    use_huge_pages()
    return args


def take_from_checkpoint(args, *names):
    """In score mode, the choices that the checkpoint was trained with in place of the arguments'; LabError where it does not tell."""
    if args.checkpoint:
        facts = read_checkpoint(args.checkpoint)[1]
        for name in names:
            if name not in facts:
                raise LabError(f"{args.checkpoint}: a checkpoint of this step was expected, but it tells no {name}")
            setattr(args, name, facts[name])


def chosen(given, default):
    """The user's number, for every model where the default has one for each; else the default."""
    if given is None:
        return default
    return dict.fromkeys(default, given) if isinstance(default, dict) else given


def by_model(default):
    return ", ".join(f"{value} {name}" for name, value in default.items()) if isinstance(default, dict) else default


def each_seed(args):
    """The arguments once for every seed that --seeds asks for, --seed and those after it."""
    return [argparse.Namespace(**{**vars(args), "seed": args.seed + k}) for k in range(args.seeds)]


def reading_options(args):
    """How SpectrogramDataset reads under these arguments: its `read` and `at_most`."""
    at_most = QUICK_CLIPS if getattr(args, "quick", False) else None
    return {"read": None if args.no_cache else cached(args.cache or REPOSITORY / "cache", build=not at_most), "at_most": at_most}


def variant_name(args, *choices):
    """The name of a run's folder: the choices that tell it from others of its step, the seed, and the mode unless it is a full run."""
    recipe = [recipe_of(args)] * (recipe_of(args) != RECIPES[0])
    return "_".join([*choices, *recipe, f"seed{args.seed}", *([] if args.mode == "full" else [args.mode])])


def run_script(main):
    """Runs a step's main and exits: 0 when it ended well, 1 behind one sentence for a LabError, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks Greek shows a '?' instead of ending the run
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as error:
        again = shlex.join(["python", *(word for word in sys.argv if word != "--resume"), "--resume"])
        print(f"stopped by Ctrl-C{f'; this goes on after the last whole epoch: {again}' if error.args else ''}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; Python would complain about it once more on the way out
        sys.exit(141)


class OneSentenceParser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def place(text):
    """An argparse type: the name of a file or folder; an unset variable of a shell gives an empty one, which would mean the default."""
    if not text:
        raise argparse.ArgumentTypeError("the name of a file or folder was expected, not an empty text")
    return text


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


def changed_number(names, text):
    """An argparse type: NAME=VALUE for one of these numbers of the tuned recipe, in one spelling."""
    name, _, value = text.partition("=")
    if name not in names:
        raise argparse.ArgumentTypeError(f"NAME=VALUE was expected, with a name of {', '.join(names)}, not {text!r}")
    parse = whole(0, 1) if name == "standardised" else whole(1) if isinstance(TUNED[name], int) else fraction
    try:
        number = parse(value)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}") from error
    if name in SHARES and number > 1:
        raise argparse.ArgumentTypeError(f"{name}: a number from 0 to 1 was expected, not {value!r}")
    return f"{name}={number}"


def fraction(text):
    """An argparse type: a finite number from 0 on."""
    value = finite(text)
    if value is None or value < 0:
        raise argparse.ArgumentTypeError(f"a number from 0 on was expected, not {text!r}")
    return value


def positive(text):
    """An argparse type: a finite number above 0."""
    value = finite(text)
    if value is None or value <= 0:
        raise argparse.ArgumentTypeError(f"a number above 0 was expected, not {text!r}")
    return value


def finite(text):
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None

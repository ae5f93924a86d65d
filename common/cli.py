"""The command line that the steps share: flags, their checks, and how a step starts and ends."""

import argparse
import contextlib
import math
import os
import sys
from pathlib import Path

import torch

from common.baselines import add_baselines_flag
from common.cache import add_cache_flags, cache_folder, cached
from common.checkpoints import add_pretrained_flag, note_content_of_pretrained
from common.checks import add_overfit_flag, check_torch_defaults
from common.errors import LabError
from common.files import file_path
from common.former import add_former_flags
from common.locations import FOLDERS, REPOSITORY
from common.progress import Paragraphs, begin_network
from common.report import print_header
from common.resume import RESUME, add_resume_flag, print_how_to_resume, sigterm_like_ctrl_c
from common.run import open_run
from common.submission import add_submit_flags, check_submit_path
from common.versions import add_demo_flag, fingerprint_text, keep_checksums

QUICK_CLIPS = 160  # of each split in a dry run: five batches of 32, a third of the training clips for validation
ALWAYS_SHOWN = {"epochs", "batch_size", "lr", "seed"}  # in the header, beside what differs from the defaults


def step_parser(description, epochs=None, lr=None, batch_size=32, overfit=True, submit=False, pretrained=False):
    """A parser with the flags that all steps share and, where `epochs` is given, those of steps that train.

    epochs, lr: the defaults, or {model: default} in a step that trains several; args.epochs and args.lr have that form.
    overfit: add --overfit-batch; submit: add the flags of the competition's file; pretrained: add --pretrained.
    parse_args checks the flags together and adds `mode` (full, quick or overfit), `seeds` and `reading`.
    """
    parser = StepParser(description=description)
    parser.by_model = {} if epochs is None else {"epochs": epochs, "lr": lr}
    data = "the lab's data folder (default: data/ here, Kaggle's input, else demo music)"
    parser.add_argument("--data", type=file_path, metavar="DIR", help=data)
    add_demo_flag(parser)
    add_cache_flags(parser)
    seed = "split, initial weights and batch order (default: %(default)s)"
    parser.add_argument("--seed", type=whole(0, 2**32 - 1), default=0, help=seed)
    out = "runs are saved in ROOT/<step>/<variant>/ (default: %(default)s)"
    parser.add_argument("--out", type=file_path, metavar="ROOT", default="runs", help=out)
    if epochs is None:
        return parser
    seeds = "run N seeds from --seed on, report mean and standard deviation"
    parser.add_argument("--seeds", type=whole(1, 1000), default=1, metavar="N", help=seeds)
    passes = f"passes over the training clips (default: {default_text(epochs)})"
    parser.add_argument("--epochs", type=whole(1, 10**6), help=passes)
    parser.add_argument("--batch-size", type=whole(1), default=batch_size, help="in clips (default: %(default)s)")
    parser.add_argument("--lr", type=positive, help=f"Adam's learning rate (default: {default_text(lr)})")
    add_baselines_flag(parser)
    names = "cpu, cuda or another name of PyTorch's; auto is cuda where there is one (default: %(default)s)"
    parser.add_argument("--device", type=device, default="auto", help=names)
    add_former_flags(parser)
    mode = parser.add_mutually_exclusive_group()
    quick = f"dry run: {QUICK_CLIPS} clips of each split, 2 epochs; its scores mean nothing"
    mode.add_argument("--quick", action="store_true", help=quick)
    if overfit:
        add_overfit_flag(mode)
    add_resume_flag(mode)
    if submit:
        add_submit_flags(parser)
    if pretrained:
        add_pretrained_flag(parser)
    return parser


def default_text(default):
    """A default value as --help shows it; {"lstm": 15, "cnn": 50} as 15 for lstm, 50 for cnn."""
    return ", ".join(f"{value} for {name}" for name, value in default.items()) if isinstance(default, dict) else default


class OneSentenceParser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence; --help shows the description's commands as they are written.

    In a notebook, main() without arguments takes none: there sys.argv is the kernel's own.
    """

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)
        self.formatter_class = Paragraphs

    def parse_known_args(self, args=None, namespace=None):
        check_torch_defaults()
        return super().parse_known_args(given_arguments(args), namespace)

    def error(self, message):
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


class StepParser(OneSentenceParser):
    """See step_parser; by_model: {"epochs": default, "lr": default}, empty for a step that trains nothing."""

    by_model: dict

    def parse_args(self, args=None, namespace=None):
        args = super().parse_args(args, namespace)
        args.shown = {name for name, value in vars(args).items() if value != self.get_default(name)} | ALWAYS_SHOWN
        args.mode = "quick" if getattr(args, "quick", False) else "full"
        if getattr(args, "overfit_batch", False):
            args.mode = "overfit"
        args.reading = reading_options(args)
        if args.demo:
            if args.data and not getattr(self, "composes", False):  # step 0 composes it there
                self.error("--demo: no --data was expected with it; step0_data.py --demo composes into any folder")
            args.data = args.data or str(REPOSITORY / "demo_data")
        if self.by_model:
            args.epochs = args.epochs or (2 if args.quick else None)
            for name, default in self.by_model.items():
                given = getattr(args, name)
                for_all = dict.fromkeys(default, given) if isinstance(default, dict) else given
                setattr(args, name, default if given is None else for_all)
            args.seeds = [args.seed + k for k in range(args.seeds)]
            args.baselines = args.baselines and args.mode == "full"
        if getattr(args, "submit", None):
            if len(args.seeds) > 1:
                self.error("--submit writes one file: no --seeds was expected beside it")
            if args.mode != "full":
                self.error("--submit needs a trained network: no dry run was expected beside it")
            check_submit_path(args.submit, args.submit_header, args.submit_suffix)
        return args


def given_arguments(args):
    """A main's arguments: None, which stands for those of the command line, is none in a notebook's kernel."""
    program = Path(sys.argv[0])
    in_kernel = program.name.endswith("kernel_launcher.py") or {"ipykernel", "spyder_kernels"} & {*program.parts}
    return [] if args is None and in_kernel else args


def reading_options(args):
    """SpectrogramDataset's `at_most` and `read` under these arguments, in a step args.reading."""
    options = {"at_most": QUICK_CLIPS if getattr(args, "quick", False) else None}
    if not args.no_cache:
        options["read"] = cached(cache_folder(args.cache, args.no_cache), build=options["at_most"] is None)
    return options


@contextlib.contextmanager
def start_run(args, step, title, data, seed, *choices, folders=FOLDERS, content=True):
    """A run of a step with its header printed: `with start_run(args, STEP, "Step 7b: ...", data, seed, "mel") as run`.

    choices: what distinguishes it from other runs of the step, in the name of its folder. See open_run.
    folders, content: of the lab's folders those that it reads, and whether their files' content counts when it is
    compared with other runs, see fingerprint_text; of a dry run it never does.
    """
    variant = "_".join([*choices, f"seed{seed}", *([] if args.mode == "full" else [args.mode])])
    given = {name: value for name, value in vars(args).items() if name not in ("shown", "reading", "begun")}
    given.pop(RESUME, None)
    arguments = {**given, "seed": seed, "data": str(data.path), "out": str(Path(args.out).resolve())}
    note_content_of_pretrained(arguments)
    keep_checksums(data, cache_folder(args.cache, args.no_cache))
    metadata = {"mode": args.mode, "seed": seed, **data.metadata()}
    metadata["data"] = fingerprint_text(data, folders, content and args.mode != "quick")
    folder = Path(arguments["out"]) / step / variant
    with open_run(folder, metadata, arguments, resume=getattr(args, "resume", None)) as run:
        begin_network(run, args)
        print_header(title, data, run, args.shown)
        yield run


def run_script(main):
    """Runs a step's main and exits: 0 at its end, 1 with a sentence for a LabError, 130 after Ctrl-C, 143 after SIGTERM."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console without Greek letters shows '?' instead of ending the run
    os.environ.pop("MPLBACKEND", None)  # a notebook's, which matplotlib may lack here; no picture needs a backend
    try:
        with sigterm_like_ctrl_c():
            main()
    except LabError as error:
        sys.exit(f"error: {error}")
    except (MemoryError, torch.cuda.OutOfMemoryError):
        sys.exit("error: the memory is full; a smaller --batch-size was expected")
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        print_how_to_resume()
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; Python would complain about it once more at its end
        sys.exit(141)


def device(name):
    """An argparse type: PyTorch's name of a device of this computer; auto is cuda where there is one, else the cpu."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1).to(name).cpu()
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
        raise argparse.ArgumentTypeError(f"a device of this computer such as cpu was expected, not {name!r}") from error
    return name


def whole(smallest, largest=math.inf):
    """An argparse type: a whole number within these bounds."""

    def parse(text):
        with contextlib.suppress(ValueError):
            if smallest <= int(text) <= largest:
                return int(text)
        bounds = f"from {smallest}" + (f" to {largest}" if largest < math.inf else " on")
        raise argparse.ArgumentTypeError(f"a whole number {bounds} was expected, not {text!r}")

    return parse


def positive(text):
    """An argparse type: a number above 0 and up to 1e30; a learning rate beyond it overflows Adam's float32."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= 1e30:
            return float(text)
    raise argparse.ArgumentTypeError(f"a number above 0 (up to 1e30) was expected, not {text!r}")

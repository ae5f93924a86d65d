"""The report page: its header, what has run, the main scores, and a section for each step of the write-up."""

from extras.page.answers import computer
from extras.page.blocks import COMPARED, NOT_COMPARABLE, Answer, NotRun, Table
from extras.page.emotions import (
    multitask_blocks,
    multitask_rows,
    regression_blocks,
    regression_rows,
    transfer_blocks,
    transfer_rows,
)
from extras.page.genres import (
    clip_blocks,
    cnn_blocks,
    cnn_rows,
    data_blocks,
    inside_blocks,
    latent_blocks,
    lstm_blocks,
    score_blocks,
    score_rows,
    transformer_blocks,
)
from extras.page.texts import CITED, SECTIONS
from extras.writeup import numbers as writeup

EPOCHS = {  # the write-up's
    "step5_lstm": str(writeup.STEP5_EPOCHS),
    "step7_cnn": str(writeup.STEP7_EPOCHS),
    "step8_regression": f"{writeup.STEP8_EPOCHS['lstm']}, {writeup.STEP8_EPOCHS['cnn']}",
    "step9_transfer": f"{writeup.STEP9_EPOCHS}, {writeup.STEP7_EPOCHS}",
    "step10_multitask": str(writeup.STEP10_EPOCHS),
}
BLOCKS = {
    "0": data_blocks, **{str(number): clip_blocks(number) for number in (1, 2, 3, 4)},
    "5": lstm_blocks, "6": score_blocks, "7a": inside_blocks, "7b-d": cnn_blocks, "7.2": transformer_blocks,
    "8": regression_blocks, "9": transfer_blocks, "10": multitask_blocks, "11": latent_blocks,
}  # fmt: skip


def build_page(results):
    """The page as a dictionary for the templates.

    demo: bool; header: [(name, text)]; steps, glance: Tables; sections: [(Section, blocks)].
    """
    sections = []
    for section in SECTIONS:
        blocks: list = [Answer(*cited) for cited in CITED.get(section.number, ())]
        blocks += (
            BLOCKS[section.number](results)
            if results.groups[section.step]
            else [NotRun(results.command(section.script))]
        )
        sections.append((section, sorted(blocks, key=rank)))
    return {
        "demo": bool(results.data.demo),
        "header": [*header(results), ("Comparison", comparison_text(results))],
        "glance": glance(results),
        "steps": overview(results),
        "sections": sections,
    }


def rank(block):
    """Sorts the blocks of a section by kind, answers also by the number of their question."""
    question = block.question.partition(":")[0] if block.kind == "answer" else ""
    return ["not_run", "text", "table", "answer", "picture", "log"].index(block.kind), question


def header(results):
    """What the numbers depend on: data, seeds, versions, computer."""
    runs = [run for step in results.groups for run in results.runs(step)]
    seeds = sorted({run["seed"] for run in runs})
    computers = sorted({computer(run) for run in runs if "device" in run["environment"].get("arguments", {})})
    versions = {}
    for run in runs:
        for name, version in run["environment"].get("versions", {}).items():
            if name not in ("threads", "machine"):  # the others are libraries
                versions.setdefault(name, set()).add(version)
    minutes = sum(run["used"]["seconds"] for run in runs) / 60
    several = "; values are mean ± standard deviation over the seeds of a step" if len(seeds) > 1 else ""
    number = f"{len(runs)} finished full run{'s' * (len(runs) > 1)}"
    libraries = ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in versions.items())
    return [
        ("Data", results.data.description()),
        ("Runs", f"{number} in {results.out}, {minutes:.1f} minutes in all"),
        ("Seeds", ", ".join(map(str, seeds)) + several),
        ("Versions", libraries or "not recorded"),
        ("Trained on", "; ".join(computers) or "not recorded"),
        ("Pictures", "of each variant's first seed; the write-up's own pictures are not shown"),
    ]


def comparison_text(results):
    if results.data.demo:
        return f"{NOT_COMPARABLE}: this is demo music, the write-up's numbers are of the lab's real music"
    if not (results.genres or results.emotions):
        return f"{NOT_COMPARABLE}: the write-up's numbers are of the lab's data, these are other data"
    error = "the standard error of an accuracy on 575 clips is 2.1 points"
    return f"this run minus write-up; {error}: one run decides little"


def overview(results):
    """Which steps have run, with which seeds, for how many epochs and how long."""
    rows = []
    for step, groups in results.groups.items():
        runs, theirs = results.runs(step), EPOCHS.get(step, "-")
        seeds = ", ".join(map(str, sorted({run["seed"] for run in runs})))
        epochs = ", ".join(map(str, sorted({len(run["history"]) for run in runs if run["history"]})))
        minutes = f"{sum(run['used']['seconds'] for run in runs) / 60:.1f}"
        row = [str(len(groups)), seeds, epochs or "-", theirs, minutes] if runs else ["not run", "-", "-", theirs, "-"]
        rows.append([f"{step}.py", *row])
    head = ("script", "variants", "seeds", "epochs", "write-up's epochs", "minutes")
    return Table("The steps and their runs", head, rows)


def glance(results):
    """The main scores of the lab in one table."""
    parts = {
        "6": [row for row in score_rows(results) if not row[0].endswith("macro F1")],
        "7b": [row for row in cnn_rows(results) if "last epoch" not in row[0]],
        "8": [row for row in regression_rows(results) if row[0].endswith("mean")],
        "9": transfer_rows(results),
        "10": [row for row in multitask_rows(results) if row[0].endswith("mean")],
    }
    rows = [[f"{step}: {label}", *rest] for step, part in parts.items() for label, *rest in part]
    caption = "At a glance: accuracy on genres (steps 6 and 7b), rank correlation on emotions (steps 8 to 10)"
    return Table(caption, COMPARED, rows)

"""The faults that planted.py plants: each gives a wrong number that looks right."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A text in a definition, and what takes its place.

    place: "row_scale", "BestEpoch.update" or a constant's name, wherever it is defined; "step7_cnn.py:train_and_test" in one script.
    find: stands exactly once in the definition. tests: files below tests/, separated by blanks, that have to notice.
    """

    area: str
    name: str
    place: str
    find: str
    put: str
    tests: str


FAULTS = [
    Fault(
        "steps",
        "step 7 tests the last epoch's weights",
        "step7_cnn.py:train_and_test",
        "    best.restore(model)\n",
        "",
        "test_numbers_genres.py",
    ),
]

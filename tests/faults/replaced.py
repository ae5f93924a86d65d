"""What is replaced or removed, and what surrounds a run: see tests/planted.py."""

from planted import Fault

REPLACED, SURROUNDINGS = "test_replaced.py", "test_surroundings.py"
FAULTS = [
    Fault(
        "replaced",
        "any file that has a record is replaced, edited or not",
        "check_own",
        "checksum(path.read_bytes()) in written",
        "written",
        REPLACED,
    ),
    Fault("replaced", "links are followed", "check_own", "each.is_symlink() or", "", REPLACED),
    Fault(
        "replaced",
        "a run's folder with notes in it is removed",
        "holds_nothing",
        "begun and found <= {folder / ARGUMENTS, folder / LOG}",
        "not any(folder.glob('*.pt'))",
        REPLACED,
    ),
    Fault(
        "replaced",
        "edited labels of demo music are lost",
        "refuse_foreign",
        "content_checksum(root)",
        "content",
        REPLACED,
    ),
    Fault(
        "surroundings",
        "a notebook's arguments count",
        "given_arguments",
        "args is None and in_kernel",
        "False",
        SURROUNDINGS,
    ),
    Fault(
        "surroundings",
        "arguments given in a notebook do not count",
        "given_arguments",
        "args is None and in_kernel",
        "in_kernel",
        SURROUNDINGS,
    ),
    Fault(
        "surroundings",
        "classes beyond the head's are accepted for transfer",
        "read_backbone",
        'len(metadata["classes"])',
        'len(weights["head.bias"])',
        SURROUNDINGS,
    ),
]

"""The project's one error type, for what a user can mend, and how an error message quotes things."""


class LabError(Exception):
    """One sentence that names the file or flag at fault and what was expected; scripts print it without a traceback."""


def reason(error):
    """The first line of another exception's message, at most 200 characters, to quote in brackets."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= 200 else line[:197] + "..."


def shown(text):
    """A text as an error message may quote it: on one line, at most 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "...")

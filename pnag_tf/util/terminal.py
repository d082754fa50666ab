"""What goes to the terminal: errors in one line, and nothing of C++ libraries; imports nothing that writes there."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from absl import app, flags


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing written to file descriptors 1 and 2 inside the block is shown; exceptions pass through.

    For short calls of TensorFlow's converter and of LiteRT, and for importing TensorFlow: their log lines heed no
    setting.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as log:
        try:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, original in zip((1, 2), saved, strict=True):
                os.dup2(original, number)
                os.close(original)


def first_line(error: Exception) -> str:
    """What an error says, in one short line; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def fail(error: object, who: str = "error") -> int:
    """Prints what is wrong in one line on stderr; returns the exit code for what a user can mend."""
    print(f"{who}: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def print_table(rows: Sequence[Mapping], notes: Iterable[str] = (), hidden: Collection[str] = ()) -> None:
    """Prints rows in columns, then notes.

    Args:
      hidden: columns that are left out.
    """
    columns = [column for column in rows[0] if column not in hidden]
    widths = [max(len(column), *(len(str(row[column])) for row in rows)) for column in columns]
    for cells in (columns, *([row[column] for column in columns] for row in rows)):
        print("  ".join(str(cell).rjust(width) for cell, width in zip(cells, widths, strict=True)))
    for note in notes:
        print(note)


def run(main: Callable[[list[str]], int], module: str) -> None:
    """Runs a command line with `absl.app`, the same whether ``python -m`` or a console script has started it.

    Args:
      module: `__name__` of the module that defines the flags; ``--help`` shows them, and its docstring.
    """
    # absl looks for both in the program, and a console script is another program.
    for flag in flags.FLAGS.get_key_flags_for_module(module):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    sys.modules["__main__"].__doc__ = sys.modules[module].__doc__
    app.run(main, flags_parser=flags_parser())


def flags_parser(who: str = "error") -> Callable[[list[str]], list[str]]:
    """For `absl.app.run`: an unknown or unusable flag is one line and exit code 2, not a page of help."""

    def parse(argv: list[str]) -> list[str]:
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            sys.exit(fail(error, who))

    return parse

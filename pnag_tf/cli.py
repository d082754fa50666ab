"""The console script ``pnag``: a run, or ``pnag classify``."""

import sys


def run() -> None:
    if sys.argv[1:2] == ["classify"]:
        from pnag_tf import classify

        del sys.argv[1]
        classify.run()
    else:
        from pnag_tf import main

        main.run()

"""A process that trains one network alone; `side_by_side` starts it and says on stdin which.

It answers on stdout, a line each: 'epoch' after every epoch, and 'error', with the pickled exception in hexadecimal
digits, for what a user can mend or a loss that is no number. Another error is its own and ends it with a traceback. It
ends when stdin does, as when the parent was killed.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading

from pnag_tf.util import errors, terminal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with terminal.quiet():  # as in `main`
    import tensorflow as tf

    from pnag_tf.run import context, train


def main() -> int:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what anything else prints is no answer
    asked = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with terminal.quiet():
        tf.config.threading.set_intra_op_parallelism_threads(asked["threads"])
        tf.config.threading.set_inter_op_parallelism_threads(asked["threads"])
        tf.config.list_logical_devices()
    try:
        run = context.make(asked["config"], asked["root"], supernet_file=asked["supernet_file"])
        train.here(run, asked["arch"], lambda: print("epoch", file=answers))
    except (errors.UserError, FloatingPointError) as error:
        print("error", pickle.dumps(error).hex(), file=answers)
        return 1
    return 0


def _end_with_parent() -> None:
    while os.read(0, 1):  # past Python's buffer, whose lock would stand in the way of an end of its own
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

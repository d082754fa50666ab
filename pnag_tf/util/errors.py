"""What a user can mend: typed errors that name settings, and how a command line turns those into its flags."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAMED = re.compile(r"`([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*)(?:=([^`]*))?`")


class UserError(Exception):
    """Something the user gave cannot be used; a command line prints it as one line and exits with code 2.

    The message names what was expected and what was found. It knows no command line: a setting stands there in
    backquotes by its name in `pnag_tf.config`, such as `phone.cpu_mask`, or with a value, `phone.cpu_mask=f0`.
    """


class SettingError(UserError):
    """A setting does not exist, or cannot have this value.

    Attributes:
      name: of the setting, such as 'measure.architectures'.
    """

    def __init__(self, name: str, why: str):
        super().__init__(f"`{name}`: {why}")
        self.name, self.why = name, why

    def __reduce__(self):  # the message alone does not make one: errors come back from other processes
        return type(self), (self.name, self.why)


class DeviceError(UserError):
    """A phone or a GPU is not there, or cannot be used as it is."""


def with_flags(message: str, flags: Mapping[str, str]) -> str:
    """A message in a command line's words: `name` becomes `--flag`, or `--set name=...` where it has no flag.

    Args:
      flags: name of a setting -> name of its flag, without dashes.

    >>> with_flags("expected `data.data_dir`, found nothing", {"data.data_dir": "data_dir"})
    'expected --data_dir, found nothing'
    >>> with_flags("`eval.measure_timeout_s=5` is too short", {})
    '--set eval.measure_timeout_s=5 is too short'
    """

    def in_words(found: re.Match) -> str:
        name, value = found[1], found[2]
        if name not in flags and "." not in name:
            return found[0]  # some command, or a word
        flag = f"--{flags[name]}" if name in flags else f"--set {name}"
        if value is None:
            return flag if name in flags else f"{flag}=..."
        return f"{flag}={value}"

    return _NAMED.sub(in_words, message)

"""Phones by way of adb, Android's debug bridge: which there are, files to one, commands on one."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import select
import shutil
import subprocess
import time
from collections.abc import Iterator

from pnag_tf.util import errors

ANSWER_S = 30.0  # within which a short command answers
PUSH_BYTES_PER_S = 1e6  # slower than any cable
END = "@pnag"  # begins the line that ends an answer; adb's own exit code cannot tell the phone's from a lost one

ADVICE = {  # what a state in `adb devices` asks of the user
    "unauthorized": "unlock the phone and allow USB debugging from this computer",
    "offline": "unplug it and plug it in again, or switch USB debugging off and on",
    "no permissions": "this user may not open the USB device: on Debian `apt-get install "
    "android-sdk-platform-tools-common`, join the group plugdev, plug it in again",
    "authorizing": "wait a moment, and unlock the phone",
    "connecting": "wait a moment",
    "recovery": "start Android on it",
    "sideload": "start Android on it",
    "bootloader": "start Android on it",
}
NO_PHONE = "plug one in with USB debugging on, or `adb connect HOST:PORT` (BUILD.md, Android)"


class Lost(errors.DeviceError):
    """The phone went away in the middle: unplugged, restarted, or out of reach."""


def devices() -> dict[str, str]:
    """Serial -> state, such as 'device' or 'unauthorized', of every phone that adb sees. Raises UserError."""
    return parse_devices(_run(["devices"]).stdout)


def parse_devices(text: str) -> dict[str, str]:
    """What `adb devices` prints -> {serial: state}."""
    found = {}
    for line in text.splitlines():
        serial, tab, state = line.partition("\t")
        if tab and serial.strip():
            state = state.strip()
            found[serial.strip()] = "no permissions" if state.startswith("no permissions") else state
    return found


def find(serial: str = "") -> Adb:
    """The phone with this serial; without one $ANDROID_SERIAL, or the only phone there is.

    A serial HOST:PORT is connected to, where adb has not.

    Raises:
      UserError: there is no such phone, there are several, or it is not ready; says what to do.
    """
    serial = serial or os.environ.get("ANDROID_SERIAL", "")
    found = devices()
    if ":" in serial and found.get(serial, "offline") == "offline":
        if serial in found:
            _run(["disconnect", serial])  # what is left of an earlier connection
        said = _run(["connect", serial]).stdout  # exits 0 whatever happens; only its words tell
        found = devices()
        if serial not in found:
            raise errors.DeviceError(f"cannot reach {serial}: adb says '{_reason(said)}'; is wireless debugging on?")
    listed = ", ".join(f"{name} ({state})" for name, state in found.items()) or "none"
    if not serial:
        if not found:
            raise errors.DeviceError(f"no phone found: {NO_PHONE}")
        if len(found) > 1:
            raise errors.DeviceError(f"{len(found)} phones found: choose one with `phone.serial`; there are {listed}")
        serial = next(iter(found))
    if serial not in found:
        raise errors.DeviceError(f"no phone with serial {serial}; found {listed}: {NO_PHONE}")
    if (state := found[serial]) != "device":
        raise errors.DeviceError(f"phone {serial} is {state}: {ADVICE.get(state, 'expected the state device')}")
    return Adb(serial)


def wait(serial: str, timeout_s: float) -> Adb:
    """The phone once it is back. Raises UserError when it is not within the time."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return find(serial)
        except errors.UserError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(1)


@dataclasses.dataclass(frozen=True)
class Adb:
    """One phone; every method raises Lost when it goes away."""

    serial: str

    def shell(self, command: str, timeout_s: float = ANSWER_S) -> str:
        """What a command prints on the phone, stderr included, whatever its exit code."""
        done = self._run(["shell", f"( {command}\n) 2>&1\necho {END}"], timeout_s)
        text = done.stdout.replace("\r\n", "\n")
        answer, end, _ = text.rpartition(END)
        if not end:
            raise self._lost(text + done.stderr)
        return answer

    def push(self, folder: pathlib.Path, target: str) -> None:
        """Copies a folder's content into a folder of the phone, in one call of adb.

        Raises:
          UserError: the phone refuses it, for instance because it is full.
        """
        size = sum(path.stat().st_size for path in folder.iterdir())
        done = self._run(["push", f"{folder}/.", f"{target}/"], ANSWER_S + size / PUSH_BYTES_PER_S)
        if done.returncode:
            text = _reason(done.stdout + done.stderr)
            if "remote " in text:  # the phone's own words follow
                raise errors.DeviceError(
                    f"phone {self.serial} refuses files in {target}: {text.split('remote ', 1)[1]}"
                )
            raise self._lost(text)

    @contextlib.contextmanager
    def talk(self, command: str) -> Iterator[Conversation]:
        """Runs a command that answers line for line; when the block ends its input closes, and it is waited for."""
        # A session of its own: Ctrl-C in the terminal is for us, who then end the command on the phone in good order.
        process = subprocess.Popen(
            [program(), "-s", self.serial, "shell", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Conversation(process, self)
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()

    def _run(self, arguments: list[str], timeout_s: float) -> subprocess.CompletedProcess:
        return _run(["-s", self.serial, *arguments], timeout_s)

    def _lost(self, text: str) -> Lost:
        """Lost, for the reason in what adb printed; the last words of the phone are none."""
        told = [line for line in text.splitlines() if line.startswith(("adb: ", "error: "))]
        return Lost(f"phone {self.serial} went away: {_reason(told[-1]) if told else 'the connection ended'}")


class Conversation:
    """Questions to a running command and its answers, each of which ends in a line that begins with `END`."""

    def __init__(self, process: subprocess.Popen, phone: Adb):
        self._process, self._phone, self._rest = process, phone, b""

    def ask(self, question: str, timeout_s: float = ANSWER_S) -> tuple[list[str], str]:
        """Sends a line; returns the lines of the answer, and what its last line says after `END`.

        Raises:
          TimeoutError: the answer is not complete in time.
          UserError: the command ended by itself.
          Lost: the phone went away.
        """
        try:
            self._process.stdin.write(f"{question}\n".encode())
            self._process.stdin.flush()
        except OSError:
            pass  # the reason is in what it printed last
        return self._answer(timeout_s)

    def ready(self) -> None:
        """Waits for a first answer, which no question precedes. Raises Lost."""
        try:
            self._answer(ANSWER_S)
        except TimeoutError:
            raise Lost(f"phone {self._phone.serial} does not answer") from None

    def _answer(self, timeout_s: float) -> tuple[list[str], str]:
        lines, deadline = [], time.monotonic() + timeout_s
        for line in self._lines(deadline):
            if line.startswith(END):
                return lines, line[len(END) :].strip()
            lines.append(line)
        text = "\n".join(lines)
        # When the connection ends adb exits with 0, 1 or 255, by its version, else with the command's exit code.
        if self._process.wait() in range(2, 255):
            raise errors.DeviceError(f"phone {self._phone.serial}: the session on it ended: {_reason(text)}")
        raise self._phone._lost(text)

    def _lines(self, deadline: float) -> Iterator[str]:
        stream = self._process.stdout.fileno()
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                yield line.decode(errors="replace").rstrip("\r")
                continue
            if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            if not (chunk := os.read(stream, 1 << 16)):
                if self._rest:
                    yield self._rest.decode(errors="replace")
                return
            self._rest += chunk


def program() -> str:
    """The adb on the PATH, else the one of $ANDROID_HOME. Raises UserError."""
    if found := shutil.which("adb"):
        return found
    home = os.environ.get("ANDROID_HOME") or os.environ.get("ANDROID_SDK_ROOT")
    if home and (found := shutil.which("adb", path=os.path.join(home, "platform-tools"))):
        return found
    raise errors.DeviceError("adb not found: `apt-get install adb`, or put Android's platform-tools on the PATH")


def _run(arguments: list[str], timeout_s: float = ANSWER_S) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(
            [program(), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise Lost(f"adb does not answer within {timeout_s:.0f} s: unplug the phone and plug it in again") from None
    except OSError as error:
        raise errors.DeviceError(f"cannot run adb: {error.strerror}") from None


def _reason(text: str) -> str:
    """The line of adb's output that tells why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "error:" in line] or lines
    return told[-1] if told else ""

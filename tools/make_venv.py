"""Makes a virtual environment with pip, also where Debian has left `ensurepip` out; needs the standard library only.

Usage: python3 tools/make_venv.py .venv
"""

import hashlib
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

OLDEST, NEWEST = (3, 10), (3, 13)
PIP = "25.3"  # runs on every Python from OLDEST to NEWEST; only where the Python at hand brings none


def pip_wheel(index: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads pip's wheel from a package index (PEP 503) into `folder` and checks its SHA-256."""
    page_url = index.rstrip("/") + "/pip/"
    name = f"pip-{PIP}-py3-none-any.whl"
    # Without the header some mirrors answer in JSON.
    request = urllib.request.Request(page_url, headers={"Accept": "text/html"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        page = reply.read().decode()
    found = re.search(rf'href="([^"]*{re.escape(name)})#sha256=([0-9a-f]{{64}})"', page)
    if not found:
        sys.exit(f"{page_url} offers no {name}; install python3-venv, or set PIP_INDEX_URL to a package index")
    with urllib.request.urlopen(urllib.parse.urljoin(page_url, found[1]), timeout=60) as reply:
        content = reply.read()
    if hashlib.sha256(content).hexdigest() != found[2]:
        sys.exit(f"{name} from {page_url} does not have the SHA-256 that the index states")
    wheel = folder / name
    wheel.write_bytes(content)
    return wheel


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit(
            f"Python 3.{OLDEST[1]} to 3.{NEWEST[1]} is needed, {sys.executable} is {sys.version.split()[0]}; "
            "name another one: make PYTHON=python3.12 ..."
        )
    folder = sys.argv[1]
    has_pip = importlib.util.find_spec("ensurepip") is not None
    make = [sys.executable, "-m", "venv", "--clear", folder]
    if subprocess.run(make if has_pip else make + ["--without-pip"]).returncode:
        sys.exit(f"{sys.executable} cannot make a virtual environment; on Debian: apt-get install python3-venv")
    if has_pip:
        return
    index = os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"
    python = pathlib.Path(folder, "bin", "python")
    with tempfile.TemporaryDirectory() as temporary:
        try:
            wheel = pip_wheel(index, pathlib.Path(temporary))
        except OSError as error:
            sys.exit(f"cannot fetch pip from {index}: {error}; on Debian: apt-get install python3-venv")
        # A wheel of pip runs from the file itself.
        install = [python, f"{wheel}/pip", "install", "--quiet", "--no-index", wheel]
        sys.exit(subprocess.run(install).returncode)


if __name__ == "__main__":
    main()

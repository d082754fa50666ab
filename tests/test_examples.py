"""The examples beside the package: they run what a run has deployed, and give its answers."""

import functools
import http.server
import json
import pathlib
import shutil
import subprocess
import threading

import numpy as np
import pytest
from PIL import Image

import pnag_tf as pnag
from pnag_tf.latency import export, metadata
from pnag_tf.space import network

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHOTOS = 200
PAGE = """<!doctype html>
<script type="importmap">{"imports": {
  "@litertjs/core": "./node_modules/@litertjs/core/dist/index.js",
  "@litertjs/wasm-utils": "./node_modules/@litertjs/wasm-utils/dist/index.js"}}</script>
<script type="module">
  import {open} from "./classifier.js";
  const said = [];
  try {
    const bytes = new Uint8Array(await (await fetch("net.tflite")).arrayBuffer());
    const net = await open(bytes, "./node_modules/@litertjs/core/wasm/");
    for (let number = 0; number < COUNT; number++) {
      const photo = await createImageBitmap(await (await fetch(`photos/${number}.png`)).blob());
      said.push(await net.predict(photo, 5));
    }
  } catch (error) {
    said.push(String(error));
  }
  await fetch("/said", {method: "POST", body: JSON.stringify(said)});
</script>"""


class _Site(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; what is posted is kept."""

    said: list = []
    posted = threading.Event()

    def do_POST(self):
        self.said.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()
        self.posted.set()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(space, backbone, tmp_path):
    """The web example, installed, with a network and photos of its size."""
    if not CHROMIUM or not shutil.which("npm"):
        pytest.skip("needs npm and Chromium")
    folder = tmp_path / "web"
    shutil.copytree(EXAMPLES / "web", folder, ignore=shutil.ignore_patterns("node_modules", "package-lock.json"))
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
    model = network.randomise(network.build(backbone, space.decode(space.smallest())[0]))
    names = [f"class {number}" for number in range(10)]
    tflite = export.convert(network.classifier(model, (0.5,), (0.3,)))
    (folder / "net.tflite").write_bytes(metadata.with_metadata(tflite, names, "for a test"))
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number in range(PHOTOS):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(folder / f"photos/{number}.png")
    (folder / "test.html").write_text(PAGE.replace("COUNT", str(PHOTOS)))
    return folder


@pytest.mark.heavy
def test_the_browser_names_the_same_five_classes(site):
    handler = functools.partial(_Site, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/test.html"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={site}/profile"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([CHROMIUM, *flags, address], **silent) as shown:
            answered = _Site.posted.wait(180)
            shown.kill()
        server.shutdown()
    assert answered and len(_Site.said) == PHOTOS, _Site.said[-1:]
    net = pnag.Classifier(site / "net.tflite")
    for number, said in enumerate(_Site.said):
        expected = net.predict(site / f"photos/{number}.png", top=5)
        assert [each["name"] for each in said] == [name for name, _ in expected]
        np.testing.assert_allclose([each["probability"] for each in said], [p for _, p in expected], atol=1e-4)


MAIN = """package org.pnag
import java.io.File
import javax.imageio.ImageIO

fun main(given: Array<String>) {
    println(labels(File(given[0])).joinToString("|"))
    for (path in given.drop(2)) {
        val photo = ImageIO.read(File(path))
        val argb = photo.getRGB(0, 0, photo.width, photo.height, null, 0, photo.width)
        println(pixels(argb, photo.width, photo.height, given[1].toInt()).joinToString(" ") { it.toInt().toString() })
    }
}
"""


@pytest.mark.heavy
def test_kotlin_sees_the_pixels_that_the_network_was_tested_on(space, backbone, tmp_path):
    """Photos that are cut, scaled up and scaled down; nearly, a large one, which Python scales by another filter."""
    if not shutil.which("npm") or not shutil.which("java"):
        pytest.skip("needs npm and Java")
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent", f"--prefix={tmp_path}", "kotlin-compiler@2"]
    subprocess.run(install, check=True)
    (tmp_path / "Main.kt").write_text(MAIN)
    sources = [EXAMPLES / "android/Pixels.kt", EXAMPLES / "android/Labels.kt", tmp_path / "Main.kt"]
    compiler, jar = tmp_path / "node_modules/kotlin-compiler/bin/kotlinc-jvm", tmp_path / "main.jar"
    subprocess.run(["bash", compiler, *sources, "-include-runtime", "-d", jar], check=True, capture_output=True)
    model = network.randomise(network.build(backbone, space.decode(space.smallest())[0]))
    names = [f"class {number}" for number in range(10)]
    path = tmp_path / "net.tflite"
    path.write_bytes(metadata.with_metadata(export.convert(network.classifier(model)), names, "for a test"))
    rng, photos = np.random.default_rng(0), []
    for number, (width, height) in enumerate([(16, 16), (18, 18), (30, 20), (11, 9), (31, 36), (400, 300)]):
        photos.append(tmp_path / f"{number}.png")
        grid = (height, width) if width < 40 else (6, 8)  # the large one is smooth
        picture = Image.fromarray(rng.integers(0, 256, (*grid, 3)).astype(np.uint8))
        picture.resize((width, height), Image.Resampling.BICUBIC).save(photos[-1])
    command = ["java", "-jar", jar, path, "16", *photos]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert said[0].split("|") == names
    expected, why = pnag.Classifier(path).read(photos)
    assert not any(why) and len(said) == 1 + len(photos)
    found = [np.array(line.split(), int).reshape(16, 16, 3) for line in said[1:]]
    *differences, large = (np.abs(a - b.astype(int)) for a, b in zip(found, expected, strict=True))
    for each in differences:
        assert each.max() <= 1 and (each > 0).mean() < 0.01  # where a sum rounds the other way
    assert large.mean() < 8  # of so few pixels the windows differ by a part of one

"""The report page: from the files of a run, whole in itself, and what a browser makes of it."""

import dataclasses
import html.parser
import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib import image

from pnag_tf import presets
from pnag_tf.run import compare, layout, report
from pnag_tf.util import errors, files

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run with three budgets, of which the first is missed; PNAG's networks are deployed, EVO's are not."""
    folder = tmp_path_factory.mktemp("my <run>")
    config = presets.preset("tiny")
    files.write_json(folder / "config.json", dataclasses.asdict(config) | {"records_file": "", "supernet_file": ""})
    archs = [str(arch) for arch in config.space.decode(config.space.sample(np.random.default_rng(0), 3))]
    rows = []
    for budget, arch in zip(("0.5", "1", "12"), archs, strict=True):
        row = {"method": "pnag", "budget_ms": budget, "arch": arch, "predicted_top1": "0.8", "validation_top1": "0.81"}
        row |= {"predicted_latency_ms": budget, "latency_ms": "0.9", "test_top1": "0.7931", "test_top5": "0.99"}
        row |= {"slowness": "1.50", "params": "698842", "madds": "2077760"}
        rows.append(row)
        name = f"pnag_cpu_{budget}"
        described = row | {"file": f"{name}.tflite", "device": "a CPU", "variants": [{"file": f"{name}_int8.tflite"}]}
        files.write_json(folder / "deploy" / f"{name}.json", described)
        for kind in ("", "_int8"):
            files.write_bytes(folder / "deploy" / f"{name}{kind}.tflite", bytes(250_000))
    files.write_csv(folder / "eval/pnag.csv", rows, rows[0])
    peers = [
        {name: row[name] for name in list(row)[:4]} | {"method": "evo", "predicted_latency_ms": "1"} for row in rows
    ]
    files.write_csv(folder / "eval/evo.csv", peers, peers[0])
    samples = [{"method": "pnag", "budget_ms": "1", "latency_ms": 0.9 + 0.01 * n, "top1": "0.8"} for n in range(12)]
    files.write_csv(folder / "eval/samples.csv", samples, samples[0])
    files.write_csv(folder / "records.csv", [{"arch": a, "top1": "0.7", "latency_ms": "1"} for a in archs],
                    ("arch", "top1", "latency_ms"))  # fmt: skip
    files.write_json(folder / "predictors/report.json", {"records": 30, "held_out": 3, "top1_tau": 0.1})
    compared = [
        dict.fromkeys(compare.COLUMNS, "") | {"network": "fbnet-c", "latency_ms": "2.5", "published_top1": "0.749"}
    ]
    files.write_csv(folder / "compare/cpu.csv", compared, compare.COLUMNS)
    return folder


@pytest.fixture(scope="module")
def page(workdir):
    return report.write(layout.Layout(workdir)).read_text()


class _Tags(html.parser.HTMLParser):
    """All start tags, and that every one is closed."""

    VOID = ("meta", "link", "input", "img")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_nothing_of_a_network(page):
    read = _Tags(page)
    assert not read.open
    for tag, attributes in read.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith(("data:", "../deploy/")), (tag, attributes)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert "&lt;run&gt;" in page and "<run>" not in page


def test_every_network_has_its_numbers_drawing_and_files(page, workdir):
    read = _Tags(page)
    sections = [attributes for tag, attributes in read.tags if tag == "section"]
    assert [each["data-budget"] for each in sections] == ["0.5", "1", "12"] * 2
    links = [attributes["href"] for tag, attributes in read.tags if tag == "a"]
    assert len(links) == 6 and all((workdir / "report" / link).resolve().is_file() for link in links)
    drawings = {attributes["src"] for tag, attributes in read.tags if tag == "img" and "Blocks" in attributes["alt"]}
    assert len(drawings) == 3  # EVO proposes the same networks
    assert page.count("79.31 %") == 3 and "0.699 M" in page and "a CPU" in page


def test_warnings_name_what_is_wrong(page):
    assert "pnag: the budget of 0.5 ms is missed: 0.9 ms." in page
    assert "up to 1.50 times slower" in page and "Only 3 records are held out" in page
    assert "tau is 0.10" in page
    assert page.count("missed: ") == 1


def test_the_share_of_the_signal_is_a_fact_and_too_little_of_it_a_warning(workdir, tmp_path):
    run = shutil.copytree(workdir, tmp_path / "run")
    rows = files.read_csv(run / "records.csv", ("arch", "latency_ms"))
    for se, share, warned in ((0.005, "75 %", 0), (0.02, "0 %", 1)):
        noisy = [row | {"top1": 0.7 + 0.02 * (n % 2), "top1_se": se} for n, row in enumerate(rows[:2])]
        files.write_csv(run / "records.csv", noisy, noisy[0])
        text = report.write(layout.Layout(run)).read_text()
        assert f"<dd>{share} of the variance</dd>" in text
        assert text.count("top-1 differ by no more than their noise") == warned


def test_published_numbers_are_marked_in_the_comparison(page):
    row = re.search(r"<td>fbnet-c</td>.*?</tr>", page, re.DOTALL)[0]
    assert '<td class="published">74.90 %</td>' in row and "<td>2.5</td>" in row


def test_a_run_without_networks(tmp_path):
    settings = dataclasses.asdict(presets.preset("tiny")) | {"records_file": "", "supernet_file": ""}
    files.write_json(tmp_path / "config.json", settings)
    with pytest.raises(errors.UserError, match="expected eval/<method>.csv, found none"):
        report.write(layout.Layout(tmp_path))


# ---- in a browser ----------------------------------------------------------------------------------------------------


def _browse(path, *flags):
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=2000",
        *flags,
        path.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.heavy
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_one_network_and_the_slider_moves_to_another(page, workdir):
    moved = workdir / "report" / "moved.html"
    script = (
        "<script>const s = document.querySelector('input'); s.value = 2; s.dispatchEvent(new Event('input'));"
        "document.querySelectorAll('.chooser')[1].querySelectorAll('button')[1].click();"
        "document.title = [...document.images].every((i) => i.naturalWidth) ? 'drawn' : 'broken';</script>"
    )
    moved.write_text(page.replace("</body>", script + "</body>"))
    for path, expected in ((workdir / "report/index.html", ["0.5", "0.5"]), (moved, ["12", "1"])):
        shown = _browse(path, "--dump-dom").stdout
        sections = [attributes for tag, attributes in _Tags(shown).tags if tag == "section"]
        assert [each["data-budget"] for each in sections if "hidden" not in each] == expected
    assert "<title>drawn</title>" in shown


@pytest.mark.heavy
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_screenshot_is_not_empty(page, workdir, tmp_path):
    _browse(workdir / "report/index.html", f"--screenshot={tmp_path}/page.png", "--window-size=1200,2400")
    pixels = image.imread(tmp_path / "page.png")
    assert pixels.shape[:2] == (2400, 1200)
    assert 0.02 < np.mean(pixels[..., :3].min(-1) < 0.9) < 0.9

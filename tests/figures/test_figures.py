"""Figures: what is drawn is what was given, nothing is cut off or covered, and files repeat byte by byte."""

import itertools
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib import text as text_lib

from pnag_tf import figures
from pnag_tf.figures import style
from pnag_tf.space import fitting
from pnag_tf.space import space as space_lib

ARCH = "2,3:3,5,0,7,3,5:6,3,0,4,4,6"  # two units, three slots each
EVALUATOR = [{"epoch": n, "loss": 1 / n, "tau": 0.1 * n if n % 2 else float("nan")} for n in range(1, 6)]
GENERATOR = [{"iteration": 50 * n, "reward": n - 3, "entropy": 9 - n, "within_budget": n / 8} for n in range(1, 9)]


def texts(figure):
    return [t.get_text() for t in figure.findobj(text_lib.Text) if t.get_visible() and t.get_text().strip()]


def lines(figure, label):
    """(x, y) of the lines of that label."""
    return [np.array(line.get_data()) for axis in figure.axes for line in axis.lines if line.get_label() == label]


def curve(figure, label):
    """(x, y) of the first line on the axis with that y label."""
    (axis,) = [axis for axis in figure.axes if axis.get_ylabel().startswith(label)]
    return np.array(axis.lines[0].get_data())


def sampled(budget_ms, latency_ms, method="pnag"):
    return [{"method": method, "budget_ms": budget_ms, "latency_ms": ms, "top1": 0.5} for ms in latency_ms]


def row(method, budget_ms, predicted_top1, predicted_latency_ms, **measured):
    predicted = {"predicted_top1": predicted_top1, "predicted_latency_ms": predicted_latency_ms}
    return {"method": method, "budget_ms": budget_ms, "arch": ARCH, **predicted, **measured}


# ---- convergence ----------------------------------------------------------------------------------------------------


def test_curves_are_the_history():
    figure = figures.convergence(EVALUATOR, GENERATOR)
    assert curve(figure, "pairwise").tolist() == [[1, 2, 3, 4, 5], [1 / n for n in range(1, 6)]]
    assert np.allclose(curve(figure, "Kendall"), [[1, 3, 5], [0.1, 0.3, 0.5]])
    assert np.allclose(curve(figure, "mean reward")[1], np.arange(-2, 6))
    assert np.allclose(curve(figure, "policy entropy")[1], np.arange(8, 0, -1))
    assert np.allclose(curve(figure, "samples within"), [50 * np.arange(1, 9), 12.5 * np.arange(1, 9)])


def test_rows_of_a_csv_serve_as_they_are_and_an_empty_column_is_left_out():
    figure = figures.convergence(
        [{"epoch": "1", "loss": "0.5", "tau": ""}, {"epoch": "2", "loss": "0.25", "tau": "nan"}]
    )
    assert len(figure.axes) == 1
    assert curve(figure, "pairwise").tolist() == [[1, 2], [0.5, 0.25]]


def test_many_rows_keep_the_raw_curve_under_their_mean():
    rng = np.random.default_rng(0)
    rows = [{"iteration": n, "reward": rng.normal(), "entropy": 1.0} for n in range(1, 1001)]
    figure = figures.convergence(generator=rows)
    (axis,) = [axis for axis in figure.axes if axis.get_ylabel().startswith("mean reward")]
    raw, mean = (line.get_ydata() for line in axis.lines)
    assert raw.tolist() == [entry["reward"] for entry in rows]
    assert np.isclose(mean[500], np.mean(raw[488:513]))
    assert len(mean) == 1000 and mean.std() < 0.3 * raw.std()


def test_histories_without_a_value_are_nothing_to_draw():
    with pytest.raises(style.NothingToDraw):
        figures.convergence([], [{"iteration": 1, "reward": "nan"}])


# ---- histograms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.004, 1.0, 40.0])
@pytest.mark.parametrize("other", [[], sampled(900, [700.0])])
def test_bars_hold_all_samples_on_the_right_side_of_the_budget(scale, other):
    latency_ms = scale * np.random.default_rng(1).uniform(20, 30, 400)
    budget_ms = float(np.sort(latency_ms)[299])  # 300 keep it, one of them exactly
    figure = figures.latency_histograms(sampled(budget_ms, latency_ms) + other)
    axis = next(a for a in figure.axes if f"budget {style.budget(budget_ms)}" in [t.get_text() for t in a.texts])
    shares = {bar.get_hatch() or "": 0.0 for bar in axis.patches}
    for bar in axis.patches:
        shares[bar.get_hatch() or ""] += bar.get_height()
        inside = (latency_ms > bar.get_x()) & (latency_ms <= bar.get_x() + bar.get_width())
        assert bar.get_height() * 4 == pytest.approx(inside.sum(), abs=1.01)  # a rounding at an edge
    assert shares[""] == pytest.approx(75) and sum(shares.values()) == pytest.approx(100)
    assert "75.0 % within budget" in texts(figure)
    assert budget_ms in [line.get_xdata()[0] for line in axis.lines]


def test_identical_latencies_and_one_sample():
    figure = figures.latency_histograms(sampled(25, [24.0] * 7) + sampled(30, [31.0]) + sampled(30, ["nan"]))
    assert [[bar.get_height() for bar in axis.patches] for axis in figure.axes] == [[100], [100]]
    assert "100.0 % within budget" in texts(figure) and "0.0 % within budget" in texts(figure)
    assert "Hatched: samples over the budget." in texts(figure)


def test_other_methods_are_outlines_or_marks():
    evo, other = [24.0, 26.0, 23.0], np.linspace(20, 30, 50)
    rows = sampled(25, evo, "evo") + sampled(25, other, "ofa_mo") + sampled(25, [24.5] * 20)
    figure = figures.latency_histograms(rows)
    assert lines(figure, "evo")[0].tolist() == [evo, [0, 0, 0]]
    (outline,) = [patch for patch in figure.axes[0].patches if patch.get_label() == "ofa_mo"]
    assert outline.get_data().values.sum() == pytest.approx(100)
    found = texts(figure)
    assert {"PNAG: 100.0 % within", "EVO: 66.7 % within", "OFA-MO: 50.0 % within"} <= set(found)
    assert any("\nOFA-MO: the evolutionary search" in text for text in found)


def test_percent_never_rounds_up_to_all():
    assert [style.percent(share) for share in (1.0, 0.9996, 2 / 3, 0.0)] == ["100.0 %", "99.9 %", "66.7 %", "0.0 %"]


# ---- frontier -------------------------------------------------------------------------------------------------------


def test_frontier_draws_each_method_by_budget():
    rows = [row("evo", 30, 0.8, 29), row("pnag", 30, 0.82, 29.5), row("pnag", 25, 0.81, 26)]
    records = [{"top1": 0.7, "latency_ms": 24}, {"top1": 0.75, "latency_ms": 28}, {"top1": 0.71, "latency_ms": 29}]
    figure = figures.frontier(rows, records)
    (axis,) = figure.axes
    assert np.allclose(lines(figure, "PNAG"), [[[26, 29.5], [81, 82]]])
    assert np.allclose(lines(figure, "EVO"), [[[29], [80]]])
    assert np.allclose(lines(figure, "best records"), [[[24, 28], [70, 75]]])
    assert np.allclose(axis.collections[0].get_offsets(), [[24, 70], [28, 75], [29, 71]])
    hollow = [line for line in axis.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert [line.get_xdata().tolist() for line in hollow] == [[26]]  # slower than its 25 ms
    assert {"≤ 25 ms", "≤ 30 ms", "PNAG", "EVO", "best records"} <= set(texts(figure))
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted latency (ms)", "predicted top-1 (%)")


@pytest.mark.parametrize(
    "measured, labels",
    [
        (
            {"test_top1": 0.6, "validation_top1": 0.7, "latency_ms": 9},
            ("measured latency (ms)", "test top-1 (%)", 9, 60),
        ),
        ({"validation_top1": 0.7, "latency_ms": 9}, ("measured latency (ms)", "validation top-1 (%)", 9, 70)),
        ({"latency_ms": 9}, ("measured latency (ms)", "predicted top-1 (%)", 9, 80)),
        ({"test_top1": "", "latency_ms": "nan"}, ("predicted latency (ms)", "predicted top-1 (%)", 8, 80)),
    ],
)
def test_frontier_takes_what_is_measured_of_all_methods(measured, labels):
    rows = [
        row("pnag", 10, 0.8, 8, test_top1=0.6, validation_top1=0.7, latency_ms=9),
        row("evo", 10, 0.8, 8, **measured),
    ]
    figure = figures.frontier(rows, [{"top1": 0.5, "latency_ms": 9}])
    (axis,) = figure.axes
    (point,) = lines(figure, "PNAG")
    assert (axis.get_xlabel(), axis.get_ylabel(), *map(float, point[:, 0].round(6))) == labels
    # Validation accuracy of records is not held against test accuracy.
    assert bool(lines(figure, "best records")) == (axis.get_ylabel() != "test top-1 (%)")


def test_records_far_below_are_counted():
    records = [{"top1": 0.7 + 0.0001 * n, "latency_ms": 20 + n % 7} for n in range(300)] + [
        {"top1": 0.1, "latency_ms": 9}
    ]
    figure = figures.frontier([row("pnag", 30, 0.8, 29)], records)
    assert any("Grey: 301 records, as measured. 1 of them lies below the axis." in text for text in texts(figure))


def test_a_hundred_methods_look_different():
    beside = style.appearance(["pnag", "evo", "m0", "m1", "m2", "m3"])
    assert len({look["color"] for look in beside.values()}) == len(beside)
    looks = style.appearance([*"pnag evo nas_mo ofa_mo random".split(), *(f"m{n}" for n in range(100))])
    assert len({(look["color"], look["marker"], look["linestyle"]) for look in looks.values()}) == 105


# ---- architectures --------------------------------------------------------------------------------------------------


def blocks(figure, start="layer-0-"):
    return [patch for patch in figure.axes[0].patches if patch.get_gid().startswith(start)]


@pytest.mark.parametrize("units, depths", [(2, (1, 3)), (5, (2, 3, 4)), (7, (1,))])
def test_a_block_for_each_layer(units, depths):
    space = space_lib.SearchSpace(units=units, depths=depths, kernels=(1, 5, 7, 11), ratios=(1, 6))
    for arch in space.decode(space.sample(np.random.default_rng(units), 3)):
        figure = figures.architecture(arch, "title")
        layers = [(k, r) for k, r in zip(arch.kernels, arch.ratios, strict=True) if k]
        drawn = sorted(blocks(figure), key=lambda patch: patch.get_x())
        assert len(drawn) == len(layers) == sum(arch.depths)
        assert len(blocks(figure, "unit-0-")) == units
        heights = {
            ratio: {p.get_height() for p, (_, r) in zip(drawn, layers, strict=True) if r == ratio} for ratio in (1, 6)
        }
        assert all(len(each) <= 1 for each in heights.values())
        assert max(heights[1], default=0) < min(heights[6], default=9)
        colours = {(p.get_facecolor(), k) for p, (k, _) in zip(drawn, layers, strict=True)}
        assert len(colours) == len({kernel for kernel, _ in layers})
        assert {"stem", "head", *(f"unit {n}" for n in range(1, units + 1)), "title"} <= set(texts(figure))
        written = [text for text in texts(figure) if text.isdigit()]
        assert sorted(written) == sorted(
            f"{value}" for value in itertools.chain(*layers, {k for k, _ in layers}, {r for _, r in layers})
        )


def test_layers_stand_in_the_slots_of_their_unit():
    figure = figures.architectures(
        [(space_lib.Architecture.parse(a), "") for a in (ARCH, "3,1:3,3,3,7,0,0:6,6,6,4,0,0")]
    )
    first, second = ([patch.get_x() for patch in blocks(figure, f"layer-{n}-")] for n in (0, 1))
    assert first[:2] == second[:2] and first[2] == second[3]


def test_captions():
    measured = {"latency_ms": 24.64, "test_top1": 0.7912}
    assert figures.caption(row("pnag", 25, 0.8, 24)) == "budget 25 ms, predicted latency 24 ms, predicted top-1 80.0 %"
    assert (
        figures.caption(row("pnag", 0.119, 0.8, 24, **measured))
        == "budget 0.119 ms, latency 24.6 ms, test top-1 79.1 %"
    )
    assert figures.caption(row("pnag", 1130, "", "")) == "budget 1130 ms"
    assert figures.caption(row("pnag", 25.0000001, "", "")) == "budget 25.0000001 ms"


def test_stem_head_and_units_are_those_of_the_backbone():
    space, backbone = fitting.fit(28)
    figure = figures.architecture(space.decode(space.largest())[0], backbone=backbone)
    assert {"conv 3×3", "pool", "classifier", "unit 1\nfused", "unit 3\nfused"} <= set(texts(figure))
    assert not {"block 3×3", "expand 1×1", "pool, mix"} & set(texts(figure))


def test_architectures_of_two_spaces_do_not_stack():
    with pytest.raises(ValueError, match="one space"):
        figures.architectures([(space_lib.Architecture.parse(a), "") for a in (ARCH, "1:3:6")])


# ---- predicted against measured -------------------------------------------------------------------------------------


def test_agreement_shows_pairs_and_median_errors():
    predicted_ms, measured_ms = [1.0, 2.2, 3.0, 4.0], [1.0, 2.0, 4.0, float("nan")]
    figure = figures.latency_agreement({"check": (predicted_ms, measured_ms), "deployed": ([], [])}, "a phone")
    above, below = figure.axes
    assert above.lines[1].get_xdata().tolist() == [1.0, 2.2, 3.0]
    assert above.lines[1].get_ydata().tolist() == [1.0, 2.0, 4.0]
    assert np.allclose(below.lines[1].get_ydata(), [0, 10, -25])
    assert np.array_equal(above.lines[0].get_data(), [above.get_xlim(), above.get_ylim()])
    assert above.get_xlim() == above.get_ylim() == below.get_xlim()
    assert "check, 3 networks: median error 10.0 %" in texts(figure)
    with pytest.raises(style.NothingToDraw):
        figures.latency_agreement({"check": ([1.0], [float("nan")])})


# ---- layout ---------------------------------------------------------------------------------------------------------

LONG = "a method with a name as long as names of methods rarely are"
MANY = [
    row(f"{LONG} {n}" if n % 2 else f"m{n}", b, 0.8 + n / 1e4, 0.98 * b) for n in range(24) for b in (0.119, 0.12, 1130)
]


def baseline(network, top1, latency_ms, minutes, method=""):
    """As a CSV has it."""
    named = {"network": network, "method": method, "minutes": str(minutes)}
    return named | {"test_top1": str(top1), "latency_ms": str(latency_ms)}


BASELINES = [baseline(f"pnag-{ms}", 0.8 + 0.02 * ms, ms, 12.5, "pnag") for ms in (2, 1, 4)]
BASELINES += [baseline("tiny_cnn", 0.7, 0.02, 12.4), baseline("mobilenet_v3_large_minimalistic", 0.9, 3, 12.6)]
BASELINES += [baseline("killed", 0.9, "", 1)]


def test_baselines_are_points_beside_the_line_of_the_run_and_say_their_minutes():
    figure = figures.baselines(BASELINES)
    (own,) = lines(figure, "PNAG, 12.5 min in all")
    assert np.allclose(own, [[1, 2, 4], [82, 84, 88]])
    (point,) = lines(figure, "tiny_cnn, 12.4 min")
    assert np.allclose(point, [[0.02], [70]])
    assert {"PNAG, 12.5 min in all", "mobilenet_v3_large_minimalistic, 12.6 min"} <= set(texts(figure))
    assert not any("killed" in text for text in texts(figure))
    with pytest.raises(style.NothingToDraw):
        figures.baselines(BASELINES[-1:])


GROWN = [{"top1": top1, "latency_ms": ms} for top1, ms in [(0.5, 2), (0.6, 3), (0.55, 1), (0.4, 1), (0.7, 2)]]


def test_rounds_are_the_best_so_far_within_each_budget():
    figure = figures.rounds(GROWN, 2, [2.0, 3.0, 1.0, 0.5])
    (least,), (middle,), (most,) = (lines(figure, f"≤ {ms} ms") for ms in (1, 2, 3))
    assert np.allclose(least, [[3, 4, 5], [55, 55, 55]])  # nothing keeps it before
    assert np.allclose(middle, [[2, 3, 4, 5], [50, 55, 55, 70]]) and np.allclose(most[1], [60, 60, 60, 70])
    assert any(text.startswith("2 random networks, then 3 in rounds.") for text in texts(figure))
    assert not lines(figure, "≤ 0.5 ms")
    for nothing in ((GROWN[:2], 2, [3.0]), (GROWN, 2, [0.5]), (GROWN, 2, [])):
        with pytest.raises(style.NothingToDraw):
            figures.rounds(*nothing)


FIGURES = {
    "rounds": lambda: figures.rounds(GROWN * 30, 40, [1.0, 1.5, 2.0, 3.0, 1130.0]),
    "rounds_few": lambda: figures.rounds(GROWN, 1, [2.0]),
    "convergence": lambda: figures.convergence(EVALUATOR, GENERATOR),
    "convergence_one_row": lambda: figures.convergence(EVALUATOR[:1], GENERATOR[:1]),
    "generator_alone": lambda: figures.convergence(generator=GENERATOR),
    "histograms": lambda: figures.latency_histograms(
        [
            s
            for b in (0.119, 0.366, 1.13, 1130)
            for m in ("pnag", "evo", LONG)
            for s in sampled(b, [0.9 * b, 1.01 * b], m)
        ]
    ),
    "histogram_of_one": lambda: figures.latency_histograms(sampled(1130, [1100])),
    "frontier_many": lambda: figures.frontier(MANY),
    "frontier_one": lambda: figures.frontier([row("pnag", 0.119, 0.5, 0.2)], [{"top1": 0.5, "latency_ms": 0.2}]),
    "frontier_five": lambda: figures.frontier(
        [row(m, b, 0.8, b) for m in ("pnag", "evo", "nas_mo", "ofa_mo") for b in (21, 25, 29, 33, 37)],
        [{"top1": 0.7 + ms / 1e3, "latency_ms": ms} for ms in range(17, 52)],
    ),
    "baselines": lambda: figures.baselines(BASELINES),
    "architectures": lambda: figures.architectures(
        [(space_lib.Architecture.parse(ARCH), figures.caption(row("pnag", b, 0.8, b))) for b in (0.119, 1130)],
        "Architectures found by PNAG on a phone whose description is anything but short",
    ),
    "agreement": lambda: figures.latency_agreement({"check": ([0.1, 1130], [0.1, 1200]), "deployed": ([2], [3])}, LONG),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off_or_covered_by_another(name, monkeypatch):
    draw, drawn = text_lib.Text.draw, []
    monkeypatch.setattr(text_lib.Text, "draw", lambda self, renderer: (drawn.append(self), draw(self, renderer)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a layout that found no room
        figure = FIGURES[name]()
        style.styled(figure.draw_without_rendering)()
    # Of an annotation the text alone, not the line that leads to it.
    boxes = {t: text_lib.Text.get_window_extent(t) for t in drawn if t.get_visible() and t.get_text().strip()}
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes.items():
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text
    for (first, a), (second, b) in itertools.combinations(boxes.items(), 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (first, second)


# ---- saving ---------------------------------------------------------------------------------------------------------


def test_saved_files_repeat_and_settings_of_the_process_stay(tmp_path):
    before = dict(matplotlib.rcParams)
    for name in ("first", "second"):
        figures.save(FIGURES["frontier_one"](), tmp_path / name / "frontier_0.119")
    assert dict(matplotlib.rcParams) == before
    for suffix in (".png", ".svg"):
        first, second = ((tmp_path / name / f"frontier_0.119{suffix}").read_bytes() for name in ("first", "second"))
        assert first == second and len(first) > 1000
    assert b"<dc:date>" not in (tmp_path / "first/frontier_0.119.svg").read_bytes()
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["frontier_0.119.png", "frontier_0.119.svg"]
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "xtick.labelsize": 20}):
        figures.save(FIGURES["frontier_one"](), tmp_path / "third")
    assert (tmp_path / "third.svg").read_bytes() == (tmp_path / "first/frontier_0.119.svg").read_bytes()

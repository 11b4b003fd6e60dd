"""The lateness map: pictures are checked by their pixels."""

import itertools
import math
import random
import struct
from array import array

import pytest
from mock_service import Job, now_ns, soon

ROWS = """(rows) => {
  const map = document.querySelector('#map'); const ratio = map.width / map.clientWidth;
  const left = Math.round((map.clientWidth < 520 ? 58 : 112) * ratio); const right = Math.round(10 * ratio);
  const pen = map.getContext('2d'); const tall = (map.height - 24 * ratio) / rows;
  const wide = map.width - left - right;
  const band = Math.floor(wide * 0.06);
  const {data} = pen.getImageData(left + Math.floor(wide * 0.9), 0, band, map.height);
  return Array.from({length: rows}, (_, row) => {
    let sum = 0;
    for (let i = 0, at = 4 * band * Math.floor((row + 0.5) * tall); i < band; i += 1, at += 4) {
      sum += data[at] + data[at + 1] + data[at + 2];
    }
    return sum / band;
  });
}"""
"""Mean brightness (0…765) of each row near the newest end of the map."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_late_rank_is_the_hottest_row(open_page, scheme):
    """The row of the late rank stands farthest from the background, in both colour schemes."""
    page = open_page(color_scheme=scheme)
    page.locator("#map[data-frame]").wait_for()
    rows = page.evaluate(ROWS, 8)
    hottest = max if scheme == "dark" else min
    assert rows.index(hottest(rows)) == 5
    others = [value for rank, value in enumerate(rows) if rank != 5]
    assert min(abs(rows[5] - value) for value in others) > 200
    assert max(others) - min(others) < 60


def test_one_late_rank_of_many_is_seen(open_page, service):
    """One bad rank among 4,096 is not averaged away: its row of pixels is hot, and the table has it first."""
    service.jobs.clear()
    service.add(Job("big", world=4096, per_host=8, windows=90, late={2931: (400, now_ns() - 60 * 10**9)}))
    page = open_page(color_scheme="dark")
    page.locator("#map[data-frame]").wait_for()
    rows = page.evaluate(ROWS, 230)
    assert abs(rows.index(max(rows)) - 2931 * 230 / 4096) < 2
    page.get_by_role("button", name="As table").click()
    first = page.locator("#table-rows tr").first
    assert first.locator("th").inner_text() == "2931"
    assert first.locator("td").first.inner_text() == "node-366"
    page.get_by_label("Find rank or host").fill("node-12")
    soon(lambda: page.locator("#table-caption").inner_text().endswith("of 88 ranks"))


@pytest.mark.slow
def test_16384_ranks_by_600_windows(open_page, service):
    """Ten million values load and draw: one late rank is seen, and no frame keeps a person waiting."""
    service.jobs.clear()
    service.add(Job("huge", world=16384, per_host=8, windows=600, late={11_000: (400, now_ns() - 60 * 10**9)}))
    page = open_page(color_scheme="dark")
    page.locator("#map[data-frame]").wait_for()
    rows = page.evaluate(ROWS, 230)
    assert abs(rows.index(max(rows)) - 11_000 * 230 / 16384) < 2
    assert float(page.locator("#map").get_attribute("data-frame")) < 1000


def test_hover_names_the_cell(open_page):
    """The pointer's cell is named: rank, host, time and value."""
    page = open_page()
    page.locator("#map[data-frame]").wait_for()
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 112 + (box["width"] - 122) * 0.95, box["y"] + 5.5 * 26)
    tip = page.locator("#tip")
    tip.get_by_text("rank 5 on node-2").wait_for()
    assert "ms late" in tip.inner_text()


def test_keyboard_walks_the_map(open_page):
    """With the keyboard alone the map is read aloud: focus leads to the latest cell, arrows to its neighbours."""
    page = open_page()
    page.locator("#map[data-frame]").wait_for()
    page.locator("#as-table").focus()
    page.keyboard.press("Tab")
    read = page.locator("#map-read")
    soon(lambda: read.inner_text().startswith("Rank 5 on node-2"))
    page.keyboard.press("ArrowUp")
    soon(lambda: read.inner_text().startswith("Rank 4 on node-2"))
    before = read.inner_text()
    page.keyboard.press("ArrowLeft")
    soon(lambda: read.inner_text() != before)
    page.keyboard.press("h")
    soon(lambda: read.inner_text().startswith("Rank 5"))
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_zoom_shows_fewer_ranks(open_page, service):
    """Zooming halves the ranks in view around the late one, down to eight, and back."""
    service.jobs.clear()
    service.add(Job("big", world=256, per_host=8, windows=90, late={200: (400, now_ns() - 60 * 10**9)}))
    page = open_page()
    page.locator("#map[data-frame]").wait_for()
    for _ in range(6):
        page.get_by_role("button", name="Show fewer ranks").click()
    page.locator("#map").focus()
    page.keyboard.press("h")
    assert page.locator("#tip").inner_text().count("the latest of") == 0
    assert page.locator("#map").bounding_box()["height"] < 260
    for _ in range(6):
        page.get_by_role("button", name="Show more ranks").click()
    assert page.locator("#map").bounding_box()["height"] > 400


def test_new_windows_arrive(open_page, service):
    """The map follows: windows that come later are drawn without reload."""
    page = open_page()
    page.locator("#map[data-frame]").wait_for()
    job = service.jobs["resnet"]
    job.late[1] = (900, 0)
    for second in range(1, 4):
        job.tick(job.times[-1] + second * 10**9)
    soon(lambda: "most late now: rank 1" in page.locator("#facts").inner_text())


LOAD = "Promise.all([import('./js/matrix.js'), import('./js/pool.js'), import('./js/palette.js')])"


def test_octet_stream_is_read_back(modules):
    """The binary form is decoded value by value; one cut short is refused."""
    values = [0.5, 1.5, float("nan"), 3.0, 4.0, 5.0]
    data = struct.pack("<II2q3i6f", 2, 3, 1_790_000_000_000_000_000, 1_790_000_001_000_000_000, 0, 1, 7, *values)
    got = modules.evaluate(
        f"(bytes) => {LOAD}.then(([m]) => {{ const d = m.decode(new Uint8Array(bytes).buffer);"
        " return [d.times, [...d.ranks], [...d.values].map(String)]; })",
        list(data),
    )
    assert got == [[1_790_000_000_000, 1_790_000_001_000], [0, 1, 7], ["0.5", "1.5", "NaN", "3", "4", "5"]]
    said = modules.evaluate(
        f"(bytes) => {LOAD}.then(([m]) => m.decode(new Uint8Array(bytes).buffer)).catch((error) => error.message)",
        list(data[:-1]),
    )
    assert "length does not fit" in said


def test_blocks_merge_by_rank_and_time(modules):
    """A block with other ranks widens the matrix, of the same time the larger stay, NaN stands where nobody spoke."""
    got = modules.evaluate(
        f"""{LOAD}.then(([m]) => {{
          const x = new m.Matrix();
          x.merge({{times: [2], ranks: Int32Array.of(0, 2), values: Float32Array.of(1, 2)}});
          x.merge({{times: [1, 2], ranks: Int32Array.of(1, 2), values: Float32Array.of(8, 9, 3, 4)}});
          x.merge({{times: [], ranks: Int32Array.of(), values: Float32Array.of()}});
          return [[...x.ranks], x.windows.map((w) => [w.at, [...w.values].map(String)])];
        }})"""
    )
    assert got == [[0, 1, 2], [[1, ["NaN", "8", "9"]], [2, ["1", "3", "4"]]]]


@pytest.mark.parametrize(("ranks", "rows"), [(7, 3), (10, 10), (16384, 460), (1000, 999)])
def test_pooling_keeps_the_maximum(modules, ranks, rows):
    """Every rank falls into exactly one row, and a row holds the largest of its ranks; without data it is NaN."""
    values = array("f", (random.Random(ranks).random() if i % 5 else math.nan for i in range(ranks)))
    got, spans = modules.evaluate(
        f"""([values, rows]) => {LOAD}.then(([, p]) => {{
          const f = Float32Array.from(values, (v) => v ?? NaN);
          const spans = Array.from({{length: rows}}, (_, r) => p.rowSpan(r, 0, f.length, rows));
          return [Array.from(p.poolRanks(f, 0, f.length, rows), (v) => (Number.isNaN(v) ? null : v)), spans];
        }})""",
        [[None if math.isnan(v) else v for v in values], rows],
    )
    assert [place for low, high in spans for place in range(low, high)] == list(range(ranks))
    for value, (low, high) in zip(got, spans, strict=True):
        assert value == max((v for v in values[low:high] if not math.isnan(v)), default=None)


@pytest.mark.parametrize("dark", [False, True])
def test_lightness_alone_carries_the_value(modules, dark):
    """Luminance goes one way over the whole scale, so the map reads the same with any colour vision."""
    words = modules.evaluate(f"{LOAD}.then(([,, p]) => [...p.table({str(dark).lower()})])")
    assert words[0] == 0
    lights = [0.2126 * (w & 255) + 0.7152 * (w >> 8 & 255) + 0.0722 * (w >> 16 & 255) for w in words[1:]]
    steps = [b - a for a, b in itertools.pairwise(lights)]
    assert all(step > -0.6 for step in steps) if dark else all(step < 0.6 for step in steps)
    assert abs(lights[-1] - lights[0]) > 180


@pytest.mark.parametrize(
    ("worst", "iteration"), [(0, 0.2), (3, 0.2), (109, 0.187), (60_000, 0.2), (0.2, 0.004), (5, None)]
)
def test_legend_is_true(modules, worst, iteration):
    """The scale covers the worst value, never ends below a quarter of an iteration, and its ticks have room."""
    top, ticks, shares, codes = modules.evaluate(
        f"""([worst, iteration]) => {LOAD}.then(([,, p]) => {{
          const s = new p.Scale(worst, iteration);
          const codes = [NaN, 0, s.top, 1e9].map((value) => s.code(value));
          return [s.top, s.ticks(), s.ticks().map((t) => s.share(t)), codes];
        }})""",
        [worst, iteration],
    )
    assert top >= max(worst, (iteration or 0.1) * 250) * 0.999
    assert ticks[0] == 0
    assert ticks[-1] == top
    assert shares == sorted(shares)
    assert all(b - a >= 0.13 - 1e-9 for a, b in itertools.pairwise(shares))
    assert codes == [0, 1, 255, 255]


def test_gaps_are_shown_as_gaps(modules):
    """Pixel columns without a window near them hold nothing; where windows are dense a column holds several."""
    pairs = modules.evaluate(
        f"""{LOAD}.then(([, p]) => {{
          const windows = [1, 2, 3, 8, 9, 10].map((at) => ({{at}}));
          return [10, 2].map((columns) => Array.from(p.columnWindows(windows, 1, 0, 10, columns)));
        }})"""
    )
    fine, coarse = pairs
    assert [fine[2 * x] for x in range(10)] == [0, 0, 1, 2, -1, -1, -1, 3, 3, 4]
    assert coarse == [0, 2, 3, 4]

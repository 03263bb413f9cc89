"""The page, as a person uses it, in Chromium."""

import csv
import hashlib
import io
import json
import re
import threading
from collections import defaultdict

import numpy as np
import pytest
import uvicorn
from PIL import Image
from tests.search.serve.browser import CHROMIUM, Browser
from tests.search.serve.conftest import CROPS

from pyramid_reid.core.figures import COLORS
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search.distances import distances
from pyramid_reid.search.serve import security
from pyramid_reid.search.serve.app import PAGE, create
from pyramid_reid.search.serve.log import SearchLog
from pyramid_reid.search.serve.run import listen, settings
from pyramid_reid.search.serve.security import Access, access

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
HITS = "[...document.querySelectorAll('#hits li')]"
IDS = f"{HITS}.map((item) => item.dataset.id)"


class Running:
    """A server in a thread."""

    def __init__(self, store, model, log, allowed):
        listening = listen("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.url = f"http://localhost:{self.port}"
        self.server = uvicorn.Server(settings(create(store, model, allowed, log)))
        self.thread = threading.Thread(target=self.server.run, args=([listening],))
        self.thread.start()
        self._listening = listening

    def end(self):
        self.server.should_exit = True
        self.thread.join()
        self._listening.close()


@pytest.fixture(scope="module")
def running(stored, model, tmp_path_factory):
    log = SearchLog(tmp_path_factory.mktemp("log") / "searches.jsonl")
    server = Running(stored, model, log, Access(True, {}))
    yield server
    server.end()


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path)
    yield browser
    browser.close()
    assert browser.faults == []


@pytest.fixture
def page(browser, running):
    """The page, loaded; it must ask this server alone, and its console must stay empty."""
    browser.open(running.url)
    browser.wait("document.querySelector('#about').textContent")
    yield browser
    assert others(browser, running) == []


def others(browser, running):
    """Requests to other servers; blob and data are none."""
    known = (f"{running.url}/", "blob:", "data:", "about:")
    return [url for url in browser.asked if not url.startswith(known)]


def identifier(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def searched(page, number=CROPS - 1):
    """Wait for hits; their ids."""
    page.wait(f"{HITS}.length === {number} && !document.querySelector('[aria-busy]')")
    return page.js(IDS)


def ranked(page, ids):
    """Wait until these are the hits, in this order."""
    page.wait(f"{IDS}.join() === '{','.join(ids)}'")


def text(page, selector):
    return page.js(f"document.querySelector({json.dumps(selector)}).textContent")


def send(page, event, path):
    """Drop or paste a file."""
    content = list(path.read_bytes())
    page.js(
        "(() => { const data = new DataTransfer();"
        f"data.items.add(new File([new Uint8Array({content})], 'a.png', {{type: 'image/png'}}));"
        f"document.dispatchEvent({event}) }})()"
    )


def slide(page, branch, value):
    page.js(
        f"(() => {{ const slider = document.querySelector('#w-{branch}'); slider.value = {value};"
        "slider.dispatchEvent(new Event('input', {bubbles: true})) })()"
    )


GIVEN = {
    "chosen": lambda page, path: page.files("#files", [path]),
    "dropped": lambda page, path: send(
        page, "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})", path
    ),
    "pasted": lambda page, path: send(
        page, "new ClipboardEvent('paste', {clipboardData: data})", path
    ),
}


@needs_chromium
@pytest.mark.parametrize("how", GIVEN)
def test_a_crop_is_searched(page, client, crops, how):
    files = [("images", ("a.png", crops[4].read_bytes()))]
    answer = client.post("/api/search", files=files, data={"options": '{"k": 50}'}).json()
    GIVEN[how](page, crops[4])
    assert searched(page) == [hit["id"] for hit in answer["hits"]]
    first = answer["hits"][0]
    chance = f"{round(100 * first['probability'])} %"
    assert text(page, "#hits .fused") == f"{first['distance']:.3f}, {chance}"
    where = f"camera {first['camera']}, {first['time'].replace('T', ' ')}, track {first['track']}"
    assert text(page, "#hits .where") == where
    sizes = page.wait(
        "(() => { const all = [...document.querySelectorAll('#restored img')];"
        " return all.length === 3 && all.every((each) => each.naturalWidth)"
        " && all.map((each) => each.naturalWidth) })()"
    )
    assert sizes == [48, 72, 96]
    page.wait("document.querySelector('#hits img').naturalWidth === 24")


HOLD = """(() => {
  const real = fetch;
  window.fetch = (path, options) => path !== "/api/restore" ? real(path, options)
    : new Promise((done) => { window.release = () => done(real(path, options)); });
})()"""
"""Answers of the restorer come when the test says so."""


@needs_chromium
@pytest.mark.parametrize("large", [False, True])
def test_restored_images_move_nothing_below_them(page, crops, tmp_path, large):
    place = (
        "JSON.stringify(['#cameras', '.drop', '#queries', 'main'].map((each) =>"
        " document.querySelector(each).getBoundingClientRect()))"
    )
    path = crops[0]
    if large:
        path = tmp_path / "large.png"
        Image.open(crops[0]).resize((128, 256)).save(path)
    page.js(HOLD)
    page.files("#files", [path])
    searched(page, CROPS if large else CROPS - 1)
    page.wait("window.release && document.querySelector('#queries img').complete")
    before = page.js(place)
    page.js("window.release()")
    page.wait(
        "(() => { const all = [...document.querySelectorAll('#restored img')];"
        " return all.length === 3 && all.every((each) => each.naturalWidth) })()"
    )
    assert page.js(place) == before


@needs_chromium
def test_several_crops_are_one_person_and_can_be_taken_away(page, client, crops):
    page.files("#files", crops[:2])
    both = searched(page, CROPS - 2)
    ids = [identifier(path) for path in crops[:2]]
    answer = client.post("/api/search", json={"ids": ids, "k": 50}).json()
    assert both == [hit["id"] for hit in answer["hits"]]
    page.click("#queries li:nth-child(2) button")
    page.wait("document.querySelectorAll('#queries li').length === 1")
    answer = client.post("/api/search", json={"ids": ids[:1], "k": 50}).json()
    ranked(page, [hit["id"] for hit in answer["hits"]])


@needs_chromium
def test_a_slider_ranks_anew(page, client, crops):
    page.files("#files", [crops[4]])
    before = searched(page)
    for branch in BRANCHES[1:]:
        slide(page, branch, 0)
    page.wait("document.querySelector('.weight.ori output').textContent === '100 %'")
    answer = client.post(
        "/api/search", json={"ids": [identifier(crops[4])], "k": 50, "weights": {"ori": 1}}
    ).json()
    expected = [hit["id"] for hit in answer["hits"]]
    assert expected != before
    ranked(page, expected)
    assert "%" not in text(page, "#hits .fused")  # the calibration holds for other weights
    page.click("#model-weights")
    ranked(page, before)
    assert "%" in text(page, "#hits .fused")
    for branch in BRANCHES:
        slide(page, branch, 0)
    page.wait("document.querySelector('#error').textContent.startsWith('All weights are 0')")


@needs_chromium
def test_filters(page, crops):
    page.files("#files", [crops[0]])
    searched(page)
    page.click("#cameras label:nth-child(2) input")
    expected = {identifier(path) for path in crops[1::3]}
    assert set(searched(page, 10)) == expected
    page.js("document.querySelector('#since').value = '2024-05-12T10:20:00';"
            "document.querySelector('#since').dispatchEvent(new Event('change'))")  # fmt: skip
    assert len(searched(page, 3)) == 3
    page.click("#no-filter")
    searched(page)
    page.press("/")
    assert page.js("document.activeElement.id") == "camera-search"
    for letter in "yard":
        page.press(letter)
    page.wait("document.querySelectorAll('#cameras label:not([hidden])').length === 1")


@needs_chromium
def test_more_like_this_by_gallery_hit_and_marks(page, crops):
    page.click("#show-gallery")
    page.wait("document.querySelectorAll('#crops img').length === 30")
    page.click("#crops li:nth-child(8) button")
    first = searched(page)
    assert page.js("document.querySelector('#queries img').src").endswith(identifier(crops[7]))
    page.click("#hits li:nth-child(3) .more")
    page.wait(f"!{IDS}.includes('{first[2]}')")
    assert page.js("document.querySelector('#queries img').src").endswith(first[2])
    page.click("#hits li:nth-child(1) .same")
    page.click("#hits li:nth-child(2) .same")
    assert text(page, "#again") == "Search with the 2 marked same"
    page.click("#again")
    page.wait("document.querySelectorAll('#queries li').length === 2")


@needs_chromium
def test_what_is_more_than_a_search_takes_is_said_beside_the_hits(page, crops):
    page.files("#files", crops[:20])
    page.wait("document.querySelector('#error').textContent.endsWith('the first 16 are kept.')")
    assert len(searched(page, CROPS - 16)) == CROPS - 16
    assert page.js("document.querySelectorAll('#queries li').length") == 16
    assert page.js("document.querySelector('#error').hidden") is False


PRESSED = """(() => {
  const pressed = new KeyboardEvent("keydown", {key: "ArrowDown", cancelable: true, bubbles: true});
  document.activeElement.dispatchEvent(pressed);
  return pressed.defaultPrevented;
})()"""


@needs_chromium
def test_arrows_go_through_the_hits_and_scroll_elsewhere(page, crops):
    assert not page.js(PRESSED)  # there are no hits
    page.files("#files", [crops[0]])
    searched(page)
    page.js("document.querySelector('#model-weights').focus()")
    assert not page.js(PRESSED)
    page.js("document.activeElement.blur()")
    assert page.js(PRESSED)
    assert page.js("document.activeElement.matches('#hits li:first-child')")
    assert page.js(PRESSED)
    assert not page.js("document.activeElement.matches('#hits li:first-child')")


FIRST_HELD = """(() => {
  const real = window.fetch;
  let first = true;
  window.fetch = (address, ...rest) => {
    const answer = real(address, ...rest);
    if (!first || !String(address).startsWith("/api/crops?")) return answer;
    first = false;
    const released = new Promise((kept) => { window.release = kept; });
    return Promise.all([answer, released]).then(([found]) => {
      window.lateCame = true;
      return found;
    });
  };
})()"""


@needs_chromium
def test_the_gallery_shows_the_last_filter_whichever_answer_comes_last(page):
    page.click("#show-gallery")
    page.wait("document.querySelectorAll('#crops li').length === 30")
    page.js(FIRST_HELD)
    page.click("#cameras label:nth-child(1) input")
    page.click("#cameras label:nth-child(2) input")
    page.wait("document.querySelectorAll('#crops li').length === 20")
    page.js("window.release()")
    page.wait("window.lateCame")
    page.js("new Promise((kept) => setTimeout(kept, 100))")
    assert page.js("document.querySelectorAll('#crops li').length") == 20


def exported(page, folder):
    """Rows of the case that the page exports."""
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.click("#export")
    file = folder / "case.csv"
    for _ in range(200):
        if file.exists() and file.stat().st_size:
            break
        page.js("new Promise((kept) => setTimeout(kept, 20))")
    content = file.read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(content, newline="")))


def check_distances(rows, model, crops):
    """Each row's distance is the model's own, of its own queries by its own weights."""
    paths = {identifier(path): path for path in crops}
    fit = model.description.calibration
    for row in rows:
        weights = {branch: float(row[f"w_{branch}"]) for branch in BRANCHES}
        asked = model.embed([paths[name] for name in row["queries"].split(" ")])
        truth = distances(asked, model.embed([paths[row["id"]]]), weights).mean()
        assert float(row["distance"]) == pytest.approx(truth, abs=2e-3)  # float16 in the store
        weighted = [weights[branch] * float(row[branch]) for branch in BRANCHES]
        assert float(row["distance"]) == pytest.approx(sum(weighted), abs=1e-5)
        if row["probability"]:
            chance = 1 / (1 + np.exp(fit.slope * float(row["distance"]) + fit.intercept))
            assert float(row["probability"]) == pytest.approx(chance, abs=1e-5)


@needs_chromium
def test_a_case_is_marked_by_keyboard_and_exported(page, crops, model, tmp_path):
    page.files("#files", [crops[4]])
    ids = searched(page)
    page.press("ArrowRight")
    focused = "document.activeElement.closest('#hits li')?.dataset.id"
    assert page.js(focused) == ids[0]
    page.press("s")
    page.press("ArrowRight")
    page.press("o")
    page.press("ArrowRight")
    page.press("o")
    page.press("o")  # not marked after all
    columns = page.js(f"{HITS}.filter((item) => item.offsetTop === {HITS}[0].offsetTop).length")
    page.press("ArrowDown")
    assert page.js(focused) == ids[2 + columns]
    page.press("ArrowUp")
    page.press("ArrowLeft")
    assert page.js(focused) == ids[1]
    page.press("m")
    page.wait(f"!{IDS}.includes('{ids[1]}')")
    searched(page)
    rows = exported(page, tmp_path)
    assert len(rows) == CROPS
    marks = defaultdict(str, {ids[0]: "same", ids[1]: "other"})
    # the query was marked, and is no hit of its own
    assert (rows[-1]["id"], rows[-1]["rank"]) == (ids[1], "")
    paths = {identifier(path): str(path) for path in crops}
    for rank, row in enumerate(rows, 1):
        assert row["mark"] == marks[row["id"]]
        assert row["rank"] == ("" if rank == CROPS else str(rank))
        assert row["path"] == paths[row["id"]]
        assert row["coat"] in ("red, white", "'=1+1")  # no formula
        assert row["queries"] == (identifier(crops[4]) if rank == CROPS else ids[1])
        assert row["probability"]
    check_distances(rows, model, crops)


@needs_chromium
def test_what_was_marked_is_exported_with_the_search_that_found_it(
    page, client, crops, model, tmp_path
):
    page.files("#files", [crops[4]])
    before = searched(page)
    for branch in BRANCHES[1:]:
        slide(page, branch, 0)
    ranked(page, by_ori(client, crops[4]))
    marked = page.js(IDS)[2]
    page.click("#hits li:nth-child(3) .same")
    page.click("#equal-weights")
    ranked(page, before)
    assert text(page, "#again") == "Search with the 1 marked same"
    page.click("#again")
    page.wait(f"!{IDS}.includes('{marked}')")
    rows = exported(page, tmp_path)
    assert len(rows) == CROPS
    assert {row["queries"] for row in rows[:-1]} == {marked}
    assert {tuple(row[f"w_{branch}"] for branch in BRANCHES) for row in rows[:-1]} == {
        ("0.25",) * 4
    }
    assert rows[-1]["id"] == marked
    assert rows[-1]["queries"] == identifier(crops[4])
    assert [rows[-1][f"w_{branch}"] for branch in BRANCHES] == ["1", "0", "0", "0"]
    assert rows[-1]["probability"] == ""  # the calibration holds for other weights
    check_distances(rows, model, crops)


def by_ori(client, path):
    """Ids of the hits of a crop by the branch ori alone."""
    asked = {"ids": [identifier(path)], "k": 50, "weights": {"ori": 1}}
    return [hit["id"] for hit in client.post("/api/search", json=asked).json()["hits"]]


@needs_chromium
def test_after_a_search_that_failed_the_case_is_of_the_hits_that_are_shown(
    page, crops, model, tmp_path
):
    page.files("#files", [crops[4]])
    ids = searched(page)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG no more")
    page.files("#files", [broken])
    page.wait("!document.querySelector('#error').hidden")
    assert page.js("document.querySelectorAll('#queries li').length") == 2
    rows = exported(page, tmp_path)
    assert [row["id"] for row in rows] == ids
    assert {row["queries"] for row in rows} == {identifier(crops[4])}
    check_distances(rows, model, crops)
    page.faults.clear()  # the console tells of the answer 422


@needs_chromium
def test_a_server_that_forgot_a_picture_gets_it_again(page, running, crops, monkeypatch):
    page.files("#files", [crops[4]])
    before = searched(page)
    monkeypatch.setattr("pyramid_reid.search.serve.queries.Queries._recall", lambda *_: None)
    page.click("#equal-weights")
    assert searched(page) == before


@needs_chromium
def test_what_is_no_image_is_said(page, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG no more")
    page.files("#files", [broken])
    page.wait("!document.querySelector('#error').hidden")
    assert text(page, "#error").startswith("picture 1 ")
    page.faults.clear()  # the console tells of the answer 422


@needs_chromium
@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, False), (390, True)])
def test_it_fits_and_is_named(running, crops, tmp_path, width, dark):
    browser = Browser(tmp_path, width=width, height=900, dark=dark)
    try:
        browser.open(running.url)
        browser.wait("document.querySelector('#about').textContent")
        browser.files("#files", [crops[4]])
        searched(browser)
        assert browser.js("document.documentElement.scrollWidth <= innerWidth")
        assert browser.js("[...document.images].every((image) => image.alt)")
        assert browser.js(
            "[...document.querySelectorAll('button, input, select')].every((each) =>"
            " each.textContent.trim() || each.ariaLabel || each.labels?.length)"
        )
        dark_back = (
            browser.js("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        )
        assert dark_back == dark
        browser.js("document.activeElement.blur()")
        browser.press("Tab")
        assert browser.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert browser.faults == []
    finally:
        browser.close()


@needs_chromium
def test_the_interface_is_described_on_a_page(browser, running):
    browser.open(f"{running.url}/docs")
    browser.wait("document.querySelectorAll('#operations section').length === 7")
    said = text(browser, "#operations")
    for word in ("POST /api/search", "weights", "exact", "probability"):
        assert word in said
    assert others(browser, running) == []


@needs_chromium
def test_the_login(browser, stored, model, monkeypatch):
    monkeypatch.setattr(security, "WRONG_S", 0)
    allowed, made = access("0.0.0.0", [])  # noqa: S104
    server = Running(stored, model, SearchLog(None), allowed)
    try:
        browser.open(server.url)
        for token in ("wrong", made):
            browser.js(f"document.querySelector('#token').value = {json.dumps(token)}")
            browser.click("form button")
            if token == "wrong":  # noqa: S105
                browser.wait("document.querySelector('#wrong')?.hidden === false")
        browser.wait("document.querySelector('#about')?.textContent")
        assert browser.js("document.cookie") == ""
        browser.click("#logout")
        browser.wait("!!document.querySelector('#token')")
        browser.faults.clear()  # the console tells of the answer 401
    finally:
        server.end()


def test_colours_are_those_of_the_plots():
    found = dict(
        re.findall(
            r"--(ori|h1|h2|h3|fused): (#\w+);", PAGE["style.css"].decode().split("@media")[0]
        )
    )
    assert found == {branch: COLORS[branch] for branch in (*BRANCHES, "fused")}

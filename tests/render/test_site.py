# SPDX-License-Identifier: BSD-2-Clause
"""The web site: built without a warning, every link walked, search asked, verdicts shown."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest

from abidance.abi import find_abi
from abidance.cli import doc_command
from abidance.cli.main import main
from abidance.errors import UnavailableError
from abidance.render import site
from abidance.render.book import Book, anchor, group_page
from abidance.render.diagram_data import load_diagrams
from abidance.render.verdicts import ClassOutcome, Outcome, TargetNote, Verdicts

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


class Page(HTMLParser):
    """The ids, links and drawings of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(given["id"] or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        if tag in ("script", "img", "iframe") and given.get("src"):
            self.loaded.append(given["src"] or "")
        if tag == "link" and given.get("rel") == "stylesheet":
            self.loaded.append(given.get("href") or "")


def verdicts() -> Verdicts:
    spec = find_abi("vmi").spec
    clause = spec.clause("vmi.SetPxE.maps")
    return Verdicts(
        targets=(TargetNote("toy@box", "Box 1.0", 2, 74),),
        clauses=(Outcome("toy@box", clause.id, clause.rev, "FAIL", "read 0", ("vmi/mmu/maps",)),
                 Outcome("toy@box", "vmi.SetPxE.stores-value", 99, "PASS", proven=True),
                 Outcome("toy@box", "vmi.SetPxE.preserves-ebx", 1, "PASS")),
        classes=(ClassOutcome("toy@box", "mmu", "no"),), started="", tool="", current=False)


@pytest.fixture(scope="module")
def book() -> Book:
    abi = find_abi("vmi")
    return Book(abi.spec, load_diagrams(abi.spec, abi.directory / "diagrams.yaml"), None, verdicts())


@pytest.fixture(scope="module")
def built(book: Book, tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        site.available()
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("site")
    site.build(book, directory)
    return directory


@pytest.fixture(scope="module")
def pages(built: Path) -> dict[str, Page]:
    return {path.name: Page(path) for path in built.glob("*.html")}


def test_every_link_leads_somewhere(pages: dict[str, Page], built: Path) -> None:
    broken, count = [], 0
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            count += 1
            target, fragment = unquote(parts.path) or name, unquote(parts.fragment)
            there = pages[target].ids if target in pages else None
            found = (built / target).exists() if there is None else not fragment or fragment in there
            if not found:
                broken.append(f"{name}: {link}")
    assert broken == []
    assert count > 3000


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, Page]) -> None:
    assert [src for page in pages.values() for src in page.loaded if urlsplit(src).netloc] == []


def test_every_entry_and_clause_has_its_anchor_once(pages: dict[str, Page], book: Book) -> None:
    for entry in book.spec.entries:
        assert pages[f"{group_page(entry.group)}.html"].ids.count(entry.name) == 1
    for clause in book.spec.clauses:
        assert pages[f"{group_page(clause.group)}.html"].ids.count(anchor(clause.id)) == 1


def test_no_id_twice_on_a_page(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        twice = {one for one in page.ids if page.ids.count(one) > 1} - {"svg-toc"}
        assert not twice, name


def test_the_front_page_says_which_vmi_it_is(pages: dict[str, Page]) -> None:
    assert "not virtual machine introspection" in pages["index.html"].text


def test_every_call_is_in_both_lists(pages: dict[str, Page], book: Book) -> None:
    for name in ("calls-by-number.html", "calls-by-name.html"):
        links = pages[name].links
        for entry in book.spec.entries:
            assert f"{group_page(entry.group)}.html#{entry.name}" in links


def test_the_search_index_leads_to_calls_and_clauses(built: Path, book: Book) -> None:
    text = (built / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    page = index["docnames"].index("group-mmu")
    assert [page, "SetPxE", True] in index["indexentries"]["setpxe"]
    assert [page, "SetPxE.maps", True] in index["indexentries"]["vmi.setpxe.maps"]
    assert [page, "SetPxE"] in index["alltitles"]["SetPxE"]


def test_drawings_are_well_formed_and_described(pages: dict[str, Page], book: Book) -> None:
    for diagram in book.diagrams:
        text = pages[f"{group_page(diagram.group)}.html"].text
        begin = text.index(f'aria-labelledby="diagram-{diagram.name}-title')
        begin = text.rindex("<svg", 0, begin)
        drawing = ElementTree.fromstring(text[begin:text.index("</svg>", begin) + 6])
        words = {element.tag.rpartition("}")[2]: element.text for element in drawing}
        assert words["title"] == diagram.title
        assert words["desc"] == diagram.text


def test_verdicts_stand_with_their_clauses(pages: dict[str, Page]) -> None:
    text = unescape(pages["group-mmu.html"].text)
    clause = text[text.index('id="SetPxE.maps"'):text.index('id="SetPxE.remaps-after-flush"')]
    assert 'verdict-fail">FAIL' in clause
    assert "toy@box: read 0" in clause
    assert "vmi/mmu/maps" in clause
    stores = text[text.index('id="SetPxE.stores-value"'):text.index('id="SetPxE.keeps-software-bits"')]
    assert "toy@box: proven; tested as rev 99" in stores
    assert "of another text of the specification" in pages["index.html"].text
    assert "toy@box: no" in unescape(pages["classes.html"].text)


def test_a_browser_finds_a_call(built: Path) -> None:
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if browser is None:
        pytest.skip("no browser; to get one: apt-get install chromium")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000",
               "--allow-file-access-from-files", f"--user-data-dir={built}/.profile", "--dump-dom",
               f"file://{built}/search.html?q=SetPxE"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = done.stdout.partition('id="search-results"')[2]
    assert "group-mmu.html#SetPxE" in found, done.stderr[-2000:]


def test_without_sphinx_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(site, "NEEDED", ("a_module_that_nobody_has",))
    assert main(["doc", "vmi", "-o", str(tmp_path / "out")]) == 2
    assert "pip install 'abidance[doc]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_results_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doc_command, "available", lambda: None)
    assert main(["doc", "vmi", "-o", str(tmp_path / "out"), "--results", str(tmp_path / "no.json")]) == 2
    assert "cannot read" in capsys.readouterr().err
    (tmp_path / "bad.json").write_text("{}")
    assert main(["doc", "vmi", "-o", str(tmp_path / "out"), "--results", str(tmp_path / "bad.json")]) == 2
    assert "not a results file" in capsys.readouterr().err


def test_the_command_with_the_trace(tmp_path: Path) -> None:
    try:
        site.available()
    except UnavailableError as error:
        pytest.skip(str(error))
    assert main(["doc", "vmi", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "index.html").is_file()
    if (find_abi("vmi").directory / "trace.yaml").is_file():
        page = Page(tmp_path / "trace.html")
        assert "group-discovery.html#rom.vmi-signature" in page.links
        for link in page.links:
            target, _, fragment = link.partition("#")
            if fragment and target.endswith(".html"):
                assert unquote(fragment) in Page(tmp_path / target).ids

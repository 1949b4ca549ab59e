# SPDX-License-Identifier: BSD-2-Clause
"""A specification as a web site, by Sphinx.

Each page is a source file of one line, a directive that puts in what the page modules make of the
specification. Sphinx gives it navigation, search and an index. The site needs no server and loads nothing
from elsewhere. A warning of Sphinx is an error here.
"""

from __future__ import annotations

import importlib.util
import io
import pathlib
import tempfile
from typing import Any

from abidance.errors import AbidanceError, UnavailableError, UsageError
from abidance.render.book import Book

__all__ = ["available", "build"]

NEEDED = ("sphinx", "furo")
REMEDY = "pip install 'abidance[doc]'"
STATIC = pathlib.Path(__file__).parent / "static"


def available() -> None:
    """Raises: `UnavailableError` if Sphinx or the theme is not installed."""
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise UnavailableError(f"{name} is not installed", remedy=REMEDY)


def build(book: Book, directory: pathlib.Path) -> None:
    """Write the site of `book` into `directory`, which is made if need be.

    Raises: `UnavailableError` without Sphinx, `UsageError` if the directory cannot be written,
    `AbidanceError` with the words of Sphinx if it warns.
    """
    available()
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {directory}: {error.strerror}") from error
    warnings = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="abidance-doc-") as work, patch_docutils(), docutils_namespace():
        source = pathlib.Path(work, "source")
        _write_sources(book, source)
        try:
            app = Sphinx(str(source), None, str(directory), str(pathlib.Path(work, "doctrees")), "html",
                         confoverrides=_configuration(book), status=None, warning=warnings, freshenv=True)
            app.build()
        except SphinxError as error:
            raise AbidanceError(f"Sphinx: {error}") from error
        except OSError as error:
            raise UsageError(f"cannot write {directory}: {error.strerror or error}") from error
    if warnings.getvalue():
        raise AbidanceError(f"Sphinx warns: {warnings.getvalue().strip()}")


def _configuration(book: Book) -> dict[str, Any]:
    spec = book.spec
    name = f"{spec.title} {spec.version}"
    return {
        "extensions": ["abidance.render.page_directive"],
        "abidance_book": book,
        "project": name,
        "version": spec.version,
        "release": spec.version,
        "html_title": name,
        "html_short_title": f"{spec.abi.upper()} {spec.version}",
        "html_theme": "furo",
        "html_static_path": [str(STATIC)],
        "html_css_files": ["site.css"],
        "html_copy_source": False,
        "html_show_sphinx": False,
        "html_show_copyright": False,
        "html_last_updated_fmt": None,
        "html_use_index": True,
        "smartquotes": False,
        "toc_object_entries": False,
        "language": "en",
    }


def _write_sources(book: Book, source: pathlib.Path) -> None:
    source.mkdir()
    parts: dict[str, list[str]] = {}
    for page in book.pages:
        parts.setdefault(page.part, []).append(page.name)
        (source / f"{page.name}.rst").write_text(f".. abidance:: {page.name}\n", encoding="utf-8")
    front = [".. abidance:: index", ""]
    for caption, names in parts.items():
        front += [".. toctree::", "   :hidden:", f"   :caption: {caption}", ""]
        front += [*(f"   {name}" for name in names), ""]
    (source / "index.rst").write_text("\n".join(front), encoding="utf-8")

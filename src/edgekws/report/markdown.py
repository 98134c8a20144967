"""Markdown as HTML: the deviations from the papers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup


def read_deviations(path: Path, names: Mapping[str, str]) -> dict[str, Markup]:
    """Markdown by its second-level sections, each under the paper that has its heading as name, if there is one."""
    papers = {called.lower(): paper for paper, called in names.items()}
    parts = re.split(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {"": as_html(parts[0])}
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        paper = papers.get(heading.strip().lower())
        found[paper or heading] = as_html(text if paper else f"## {heading}\n{text}")
    return {name: html for name, html in found.items() if html.strip()}


def as_html(text: str) -> Markup:
    """Markdown as HTML without its title, headings a level down; HTML inside it is shown, not obeyed."""
    import mistune

    page = str(mistune.create_markdown(escape=True, plugins=["table"])(text))
    page = re.sub(r"<h1>.*?</h1>", "", page, count=1, flags=re.DOTALL)
    page = page.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")
    return Markup(re.sub(r"(</?h)(\d)", lambda found: f"{found[1]}{min(6, int(found[2]) + 1)}", page))

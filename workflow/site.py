"""What MkDocs asks while it builds the documentation: pages that live elsewhere in the repository, and the gallery.

Data cards, CONTRIBUTING.md and CHANGELOG.md stand where people look for them in a checkout; here they become pages, too. Links
that lead out of the site (to sources and settings) keep their text and lose their address: a site on a disk has no checkout.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
             **{f"data/{card.parent.name}/README.md": f"data/{card.parent.name}.md"
                for card in sorted(ROOT.glob("data/*/README.md"))}}
"""Files of the repository that are pages of the site, by their place in each."""

LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in ELSEWHERE.items():
        if page != "index.md":
            files.append(File.generated(config, page, content=_own_links((ROOT / source).read_text(encoding="utf-8"), source)))
    files.append(File.generated(config, "data.md", content=_data()))
    files.append(File.generated(config, "gallery.md", content=_gallery()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return _own_links(markdown, f"docs/{page.file.src_uri}") if page.file.abs_src_path else markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Docstrings are reStructuredText here and there: a role stands before its code, a double colon before its block."""
    return re.sub(r":(?:func|class|meth|mod|data|attr|doc):(?=<code>)", "", html).replace("::</p>", ":</p>")


def _own_links(markdown: str, source: str, page: str | None = None) -> str:
    """Links as the site has them, for text from ``source`` in the repository that stands on ``page`` of the site."""
    here = page or ELSEWHERE.get(source, source.removeprefix("docs/"))

    def moved(link: re.Match[str]) -> str:
        text, address = link.groups()
        path, _, anchor = address.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return link.group()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        inside = ELSEWHERE.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if inside is None:
            return text
        return f"[{text}]({posixpath.relpath(inside, posixpath.dirname(here) or '.')}{'#' + anchor if anchor else ''})"

    # Not in blocks of code.
    return "".join(part if place % 2 else LINK.sub(moved, part)
                   for place, part in enumerate(re.split(r"(```.*?```)", markdown, flags=re.DOTALL)))


def _data() -> str:
    """The page on data: every card's first lines, and where the rest is."""
    lines = ["# Data", "", "Audio is never part of the repository. Each corpus has a card: what is in it, who may use it, how to "
             "get it.", ""]
    for source, page in ELSEWHERE.items():
        if page.startswith("data/"):
            text = (ROOT / source).read_text(encoding="utf-8")
            title, _, rest = text.removeprefix("# ").partition("\n")
            first = rest.strip().split("\n\n")[0].replace("\n", " ")
            lines.append(f"* [{title}]({page}): {_own_links(first, source, 'data.md')}")
    return "\n".join(lines) + "\n"


def _gallery() -> str:
    """Every figure that a paper has: what it shows, what to ask it, its command, its pictures of docs/figures."""
    lines = ["# Gallery", "", "Every figure has a name and can be asked for alone. Pictures here are of real recordings; the "
             "commands draw the same figures for the demo.", ""]
    for rules in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        text = rules.read_text(encoding="utf-8")
        title, figures = re.search(r'title="(.*?)"', text), re.search(r"figures=\{\n(.*?)\n    \}", text, re.DOTALL)
        if not title or not figures:
            continue
        lines += [f"## {title[1]}", ""]
        for name, about in re.findall(r'"(\w+)": "(.*?)",', figures[1]):
            caption = ROOT / "workflow" / "report" / f"{name}.rst"
            lines += [f"### {about[0].upper()}{about[1:]}", "",
                      caption.read_text(encoding="utf-8").strip() if caption.exists() else "", "",
                      f"```sh\n.venv/bin/snakemake figure_{name}\n```", ""]
            lines += [f"![{about}](figures/{picture.name})\n"
                      for picture in sorted((ROOT / "docs" / "figures").glob(f"{name}_*.*"))]
    return "\n".join(lines)

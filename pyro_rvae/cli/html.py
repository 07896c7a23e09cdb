"""A report as one HTML file that needs nothing beside it: no network, no script, pictures and downloads inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from ..plots import Panels
from ..plots.style import title_of

__all__ = ["Finding", "Section", "code", "download", "heading", "note", "page", "picture", "table", "text"]

DOTS = 140  # an inch: pictures are 1680 pixels wide, sharp in a column of 1100


@dataclass(frozen=True)
class Finding:
    """One line of the verdict: ``good`` is None where it is no judgement; ``section`` is where it comes from."""

    words: str
    good: bool | None = None


@dataclass
class Section:
    """A heading, how to read what stands under it, and the blocks under it (HTML already).

    Attributes:
        name: of the anchor; title: of the heading.
        see: what one looks at; good: what good looks like; run: what this run shows.
        findings: its lines of the verdict.
    """

    name: str
    title: str
    see: str = ""
    good: str = ""
    run: str = ""
    blocks: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def html(self) -> str:
        parts = (("What you see", self.see, ""), ("What good looks like", self.good, ""), ("This run", self.run, "run"))
        reading = "".join(f'<div class="{kind}"><dt>{label}</dt><dd>{escape(words)}</dd></div>'
                          for label, words, kind in parts if words)
        reading = f'<dl class="reading">{reading}</dl>' if reading else ""
        body = "\n".join([reading, *self.blocks])
        return f'<section id="{escape(self.name)}">\n<h2>{escape(self.title)}</h2>\n{body}\n</section>'


# ------------------------------------------------------------------------------------------------ blocks
def text(words: str) -> str:
    """A paragraph."""
    return f"<p>{escape(words)}</p>"


def heading(words: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(words)}</h3>"


def note(words: str) -> str:
    """A remark in small grey letters."""
    return f'<p class="note">{escape(words)}</p>'


def failed(words: str) -> str:
    """Why a section could not be made."""
    return f'<p class="failed">{escape(words)}</p>'


def code(words: str) -> str:
    """Lines to copy, in a box that scrolls by itself."""
    return f'<div class="box"><pre><code>{escape(words)}</code></pre></div>'


def folded(summary: str, inside: str) -> str:
    """What opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = (), *, wrong: Iterable[tuple[int, int]] = ()) -> str:
    """Rows of cells in a box that scrolls by itself; numbers stand on the right.

    :param wrong: places (row, column) of cells that stand out as bad.
    """
    lines, marked = [list(row) for row in rows], set(wrong)
    width = max(map(len, lines), default=0)
    numeric = [all(_is_number(row[i]) for row in lines if len(row) > i and row[i]) for i in range(width)]
    top = "".join(_cell("th", cell, i < width and numeric[i] and i > 0) for i, cell in enumerate(head))
    body = ""
    for r, row in enumerate(lines):
        cells = (_cell("td", cell, numeric[i] and i > 0, (r, i) in marked) for i, cell in enumerate(row))
        body += f"<tr>{''.join(cells)}</tr>"
    top = f"<thead><tr>{top}</tr></thead>" if head else ""
    return f'<div class="box" tabindex="0"><table>{top}<tbody>{body}</tbody></table></div>'


def _cell(tag: str, words: str, number: bool, wrong: bool = False) -> str:
    kinds = " ".join(kind for kind, yes in (("number", number), ("wrong", wrong)) if yes)
    return f"<{tag}{f' class={chr(34)}{kinds}{chr(34)}' if kinds else ''}>{escape(words.replace('+-', '±'))}</{tag}>"


def _is_number(words: str) -> bool:
    return words[:1] in "+-−–" or words[0].isdigit()


def picture(panels: Panels, caption: str = "", *, alt: str = "") -> str:
    """A plot, in the file itself; ``alt`` is for those who don't see it (default: its title and the caption)."""
    buffer = io.BytesIO()
    panels.figure.savefig(buffer, format="png", dpi=DOTS)
    wide, high = (round(inches * 100) for inches in panels.figure.get_size_inches())
    words = alt or ". ".join(part for part in (title_of(panels), caption) if part)
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    # the box is for phones, without a script: a tap makes the picture large, to be moved about in its own frame
    return (f'<figure><label><input type="checkbox" aria-label="Enlarge"><span class="frame">'
            f'<img src="{data_uri(buffer.getvalue(), "image/png")}" width="{wide}" height="{high}" '
            f'alt="{escape(words)}"></span></label>{below}</figure>')


def download(name: str, content: bytes, kind: str, words: str) -> str:
    """A link that saves a file which the page holds."""
    return f'<a class="download" download="{escape(name)}" href="{data_uri(content, kind)}">{escape(words)}</a>'


def data_uri(content: bytes, kind: str) -> str:
    """``data:...;base64,...``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


# ------------------------------------------------------------------------------------------------ the page
def page(title: str, under: str, sections: Sequence[Section], foot: str) -> str:
    """The whole file: the verdict, a table of contents, the sections."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    kinds = {True: "good", False: "bad", None: "open"}
    lines = [(kinds[found.good], section.name, found.words) for section in sections for found in section.findings]
    verdict = "".join(f'<li class="{kind}"><a href="#{escape(name)}">{escape(words)}</a></li>'
                      for kind, name, words in lines)
    contents = "".join(f'<a href="#{escape(section.name)}"><span class="number">{i}</span>{escape(section.title)}</a>'
                       for i, section in enumerate(sections, 1))
    body = "\n".join(section.html() for section in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="under">{escape(under)}</p>
<ul class="verdict">{verdict}</ul>
<nav aria-label="Contents">{contents}</nav>
{body}
<footer>{escape(foot)}</footer>
</main>
</body>
</html>
"""

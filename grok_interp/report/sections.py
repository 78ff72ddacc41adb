"""A page of text, tables and figures that stand as Python drew them: opens from disk, loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

import plotly.graph_objects as go

from grok_interp.report.static import static

_STYLE = """
.figure { overflow-x: auto; }
.figure > div { min-width: 800px; }
article ul { margin: 0 0 .5rem; color: #555; }
"""


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: Heading.
        answer: What the figures below it allow one to say, in words: paragraphs with blank lines between
            them, and lists, an item a line that begins with "- ".
        tables: Plain-text tables.
        figures: Figures, in order.
    """

    title: str
    answer: str
    tables: Sequence[str]
    figures: Sequence[go.Figure]


def of_sections(title: str, introduction: str, sections: Sequence[Section], made_by: str) -> str:
    """The page as one string; all text is escaped, and plotly's script is part of it.

    Args:
        title: Title of the page.
        introduction: First paragraph.
        sections: Its parts.
        made_by: The command and versions that made it.

    Returns:
        HTML that loads nothing.
    """
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(introduction)}</p>"]
    script: bool | str = True
    for section in sections:
        body.append(f"<h2>{escape(section.title)}</h2>")
        body.append(f"<article>{_marked_up(section.answer)}</article>")
        body += [f'<pre tabindex="0">{escape(table)}</pre>' for table in section.tables]
        for figure in section.figures:
            body.append(
                '<div class="figure"><div>'
                + figure.to_html(
                    full_html=False,
                    include_plotlyjs=script,
                    config={"responsive": True, "displaylogo": False, "displayModeBar": "hover"},
                )
                + "</div></div>"
            )
            script = False
    body.append(f"<footer><p>Made by <code>{escape(made_by)}</code></p></footer>")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{static('page.css')}{_STYLE}</style></head><body>",
            *body,
            "</body></html>",
        ]
    )


def _marked_up(words: str) -> str:
    """Words as paragraphs and lists, escaped."""
    parts = []
    for kind, lines in groupby(words.splitlines(), _kind):
        if kind == "item":
            items = "".join(f"<li>{escape(line.removeprefix('- '))}</li>" for line in lines)
            parts.append(f"<ul>{items}</ul>")
        elif kind == "text":
            parts.append(f"<p>{escape(' '.join(lines))}</p>")
    return "\n".join(parts)


def _kind(line: str) -> str:
    return "item" if line.startswith("- ") else "text" if line.strip() else "blank"

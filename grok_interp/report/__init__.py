"""Self-contained HTML files. About some runs one that opens from disk, loads nothing and can be explored.

The first screen answers the four questions of :mod:`grok_interp.findings`. Below it a slider over
the checkpoints moves every panel, each of which is a figure of :mod:`grok_interp.figures`, drawn by
Python for the last checkpoint and redrawn in the page from packed numbers (:mod:`.payload`). Any
neuron can be searched for and opened.

What is not evidence: one run. The page says what the controls of that run allow one to say; seeds are
the unit of inference.

For results of other shapes, as of landscapes, :func:`of_sections` puts figures under headings.
"""

from __future__ import annotations

from grok_interp.report.page import to_html as to_html
from grok_interp.report.payload import chosen_steps as chosen_steps
from grok_interp.report.sections import Section as Section
from grok_interp.report.sections import of_sections as of_sections

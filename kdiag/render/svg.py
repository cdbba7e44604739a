"""SVG output: the map of the address ranges (`check-cidrs`), or the way of a packet (`trace`)."""

from __future__ import annotations

from kdiag.render.interface import Format
from kdiag.render.svg_map import report_svg
from kdiag.render.svg_trace import trace_svg

SVG = Format(slug="svg", report=report_svg, trace=trace_svg)

"""The gallery: one page that shows a person what a dataset holds, why its labels are believed, and what was refused.

A folder of plain HTML, CSS and JPEGs: no script, no network, and every foreign word escaped.
"""

from reelmill.sinks.gallery.page import sweep, write_gallery

__all__ = ["sweep", "write_gallery"]

"""Beam's options, whose views are made once: parsing them anew for each transform is half of building a pipeline.

Beam: https://github.com/apache/beam/issues/26034 (parse options once), of which `view_as` is another part.
"""

from __future__ import annotations

from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions


class QuickOptions(PipelineOptions):
    """`PipelineOptions` that keeps its views. All views share one store of values, so one of a kind is enough."""

    def view_as(self, cls: Any) -> Any:
        """The view of these options as `cls`, the same one each time."""
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]

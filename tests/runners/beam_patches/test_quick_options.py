from __future__ import annotations

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from beamsplit.runners.beam_patches.quick_options import QuickOptions


def test_views_are_made_once_and_share_their_values():
    flags = ["--direct_num_workers=3", "--streaming"]
    options, plain = QuickOptions(flags), PipelineOptions(flags)
    view = options.view_as(DirectOptions)
    assert view is options.view_as(DirectOptions)
    assert isinstance(view, DirectOptions) and view.direct_num_workers == 3
    assert options.view_as(StandardOptions).streaming is True
    view.direct_num_workers = 5
    assert options.view_as(DirectOptions).direct_num_workers == 5
    assert options.get_all_options()["direct_num_workers"] == 5
    plain.view_as(DirectOptions).direct_num_workers = 5
    assert options.get_all_options() == plain.get_all_options()

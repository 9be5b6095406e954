"""The Prism that Beam downloads for its version, as a file: it is started with options of our own.

Beam: https://github.com/apache/beam/pull/31583 (where it came from). To be reported: `PrismJobServer` has no public way
to fetch the program without starting it, with its web page on all interfaces.
"""

from __future__ import annotations


def download_prism(location: str | None) -> str:
    """The path of the program, downloaded unless it is there; raises what the network and Beam's checks raise.

    Args:
        location: `--prism_location`, a URL; None for Beam's own.
    """
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.prism_runner import PrismJobServer

    flags = [f"--prism_location={location}"] if location else []
    return str(PrismJobServer(PipelineOptions(flags))._get_executable_path())

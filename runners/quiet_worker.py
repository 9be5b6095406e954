"""Beam's SDK worker without its log: what matters of it reaches the submitter as the job's error."""

from __future__ import annotations

import logging
import sys

from runners.lean_import import import_beam

if __name__ == "__main__":
    logging.disable(logging.ERROR)
    import_beam()
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)

from __future__ import annotations

from apache_beam.io.iobase import RestrictionProgress
from apache_beam.runners.worker.bundle_processor import DataInputOperation

import beamsplit.transforms.kafka.source  # noqa: F401 what a worker imports that reads


def test_a_bundle_whose_progress_is_unknown_can_be_split():
    progress = RestrictionProgress(completed=0.0, remaining=1.0).with_completed(float("nan"))
    assert DataInputOperation._compute_split(0, progress.fraction_completed, float("inf"), 0.5, 1) == (0, [], [], 1)
    assert RestrictionProgress(completed=0.0, remaining=1.0).with_completed(3).fraction_completed == 0.75

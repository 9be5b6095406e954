"""Every place that reaches into Beam: what is changed or used there that Beam does not offer, and why.

Each file says what Beam lacks, with Beam's issue, or what is to be reported where there is none. For each,
tests/runners/beam_patches/ has a test that fails once Beam no longer needs it. All that knows Beam may import it.
"""

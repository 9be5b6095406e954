"""Every place that reaches into Beam: what is changed there, and why."""

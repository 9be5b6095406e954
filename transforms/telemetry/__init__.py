"""What a process tells Prometheus of its work: counted by the steps, shown by an endpoint where one is asked for."""

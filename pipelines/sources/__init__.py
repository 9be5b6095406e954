"""What a job reads: files, a topic, a topic up to its end. `find_source` chooses by what `--input` names."""

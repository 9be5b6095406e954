"""Where predictions and rows that failed go: files or topics. `find_sinks` chooses by what the options name."""

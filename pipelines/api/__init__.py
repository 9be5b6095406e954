"""What `import beamsplit` gives: the same jobs and models as the commands, from Python."""

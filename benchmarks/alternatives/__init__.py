"""What users would write instead of beamsplit, each as they would write it."""

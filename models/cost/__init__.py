"""What a model costs on which workers: seconds by profile or by counting, bytes, memory."""

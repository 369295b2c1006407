"""The SAM 2 network, one part per file, with the official checkpoints' parameter names."""

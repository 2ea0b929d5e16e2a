"""Saved agents for use without Python: ONNX files."""

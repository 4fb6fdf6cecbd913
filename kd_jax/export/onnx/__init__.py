"""ONNX files of networks: a jaxpr walked operation by operation, and int8."""

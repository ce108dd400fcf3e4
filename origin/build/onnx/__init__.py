"""Encoders as ONNX graphs: checkpoints of the BERT family, our own export, quantized forms. Needs no torch."""

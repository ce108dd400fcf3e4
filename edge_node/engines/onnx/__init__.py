"""The ONNX engine: embeddings, reranking, classification and any tensors by ONNX Runtime, batched across requests."""

"""Operations on GGUF files, without torch: measure, quantize, prune, and rebuild bit for bit."""

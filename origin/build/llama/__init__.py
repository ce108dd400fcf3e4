"""Training of models of the llama family with torch. Nothing is imported here."""

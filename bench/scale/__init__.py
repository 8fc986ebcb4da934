"""How encoding grows with the image: time, memory, and what fitting it in blocks costs in quality."""

"""From an image to the bytes of a file; ``encode.py`` is the pipeline. Nothing of the decoder imports this package."""

"""Images in and out: ``image.py`` reads, ``writing/writer.py`` writes."""

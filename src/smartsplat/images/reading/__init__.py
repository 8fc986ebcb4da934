"""Image files to samples: ``formats.py`` finds the reader of a file, ``stored.py`` assembles what that gives."""

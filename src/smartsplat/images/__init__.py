"""Image files, streams, arrays and Pillow images <-> 8-bit pixels."""

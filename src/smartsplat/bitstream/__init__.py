"""The file format (docs/format.md): Gaussians <-> symbols <-> bytes. Imports nothing of the encoder or the renderer."""

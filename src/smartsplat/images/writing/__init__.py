"""Samples to image files, whole or strip by strip; start with ``writer.py``."""

"""Colour spaces: ICC profiles and code points, and the way from them into sRGB."""

"""Rate and distortion at true bytes: bench.run measures, bench.report draws and tabulates."""

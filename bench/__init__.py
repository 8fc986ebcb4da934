"""Rate and distortion at true bytes: bench.run measures, bench.report draws. Speed: bench.kernels and its report."""

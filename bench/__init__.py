"""The benchmarks: what this codec reaches, and how fast. ``scripts/bench`` and ``scripts/gpu`` run them.

``rate_distortion`` has quality at true bytes beside other codecs, ``kernels`` and ``gpu`` have speed, ``paper`` the
tables and figures of the paper. Every benchmark extends a table (``tables``), and a report writes it into the docs
(``markdown``) and plots it (``figures``). ``images`` has the test images.
"""

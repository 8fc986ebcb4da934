"""Speed of every kernel of the CPU: ``run`` measures, ``report`` writes tables and plots, ``work`` counts."""

"""Speed on a GPU: ``run`` measures, ``report`` writes tables."""

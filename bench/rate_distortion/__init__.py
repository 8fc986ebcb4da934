"""Quality at true bytes: ``run`` measures codecs, ``report`` writes tables and plots, ``prefix`` cuts files off."""

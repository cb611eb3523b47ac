"""Searches for settings: many runs of one rule, chosen by Optuna, in a study that may be stopped and continued."""

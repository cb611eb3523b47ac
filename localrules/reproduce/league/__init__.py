"""A league: every rule on the same grounds, with the same search for settings and the same time."""

"""Evaluation of trained networks, with checks of whether a measurement can be believed."""

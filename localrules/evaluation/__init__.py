"""What a trained network is worth, and whether the measurement can be believed."""

"""What a trained network is worth, and whether the figure can be believed."""

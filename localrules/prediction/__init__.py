"""Labels for images that are in no data set."""

"""Labels for pictures that are in no data set."""

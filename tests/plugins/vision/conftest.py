from helpers.isolated_data import cache  # noqa: F401

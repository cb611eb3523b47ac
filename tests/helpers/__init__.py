"""Shared by several tests: tiny networks and runs, reference implementations, stand-ins."""

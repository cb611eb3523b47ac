"""What several tests share: tiny networks and runs, reference implementations, stand-ins."""

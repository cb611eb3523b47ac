"""Processes that divide the layers of a network: each trains a stage, and sends the outputs of its layers on."""

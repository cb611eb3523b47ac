"""Trained networks in the formats of other programs: ONNX, torch.export, folders for the Hugging Face Hub."""

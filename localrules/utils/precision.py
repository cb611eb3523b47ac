"""Names of precisions."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]

AUTOCAST_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
"""What torch calls the type of forward passes in mixed precision."""

"""Frames in, frames out: reads films, colours them, writes films."""

import os

# Before torch is imported: OpenMP threads that spin while the codecs work cost up to ten times (measured on two cores).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

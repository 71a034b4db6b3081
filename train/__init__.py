"""Trains, evaluates and exports the generator."""

import os

# Before torch is imported: OpenMP threads that spin while the loader works cost up to ten times (two cores).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

"""Tests, in folders that mirror the package; what several of them share stands here beside them."""

from pathlib import Path

ROOT = Path(__file__).parents[1]

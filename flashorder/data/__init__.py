"""The data that flashorder ships; README.md in this folder names its source and licence."""

from importlib import resources
from importlib.resources.abc import Traversable

CATALOGUE_FILE: Traversable = resources.files(__name__) / "online_retail_2010-12.csv"
"""Real order lines, the catalogue of the demonstration (Online Retail, D. Chen, CC BY 4.0)."""

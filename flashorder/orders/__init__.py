"""Orders: their lifecycle, their timeline, and who may read and change them."""

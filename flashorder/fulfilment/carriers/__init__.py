"""Carriers: one file each, all of them behind the port in ``port.py``."""

"""From a paid order to the doorstep: pick, pack, ship, track."""

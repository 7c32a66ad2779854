"""A store that comes back behind what was told sells nothing: detection, and the fence.

It stands above the rooms whose words it repeats to a store that was found whole: sales (heads,
top-ups), reservations (holds). The rows of orders it only reads. docs/adr/0016 has the reasons.
"""

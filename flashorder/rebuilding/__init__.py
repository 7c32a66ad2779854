"""The way back after the front lost a sale: a new generation, filled from PostgreSQL.

It stands above the rooms that it puts together: sales (the generation), reservations (the record of
a purchase), the consumer (entries of dead letters), and the rows of orders, which it only reads.
"""

"""Load testers: shoppers, impatient ones, bots; and the first sale, followed to the parcels."""

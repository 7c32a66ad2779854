-- Any number may place entries of a shard at once, but not while somebody puts one aside: each side
-- has to see what the other did with an entry that both hold. $1 shard.
SELECT pg_advisory_xact_lock_shared(hashtext('flashorder.intents'), $1)

-- See lock_to_place.sql: waits until nobody is placing entries of the shard. $1 shard.
SELECT pg_advisory_xact_lock(hashtext('flashorder.intents'), $1)

-- How far the stream of each shard is known to have been, beside the entries that became orders or
-- dead letters. A store whose stream ends before that lacks something that was told (docs/adr/0016).

CREATE TABLE store_positions (
    shard smallint PRIMARY KEY CHECK (shard >= 0),
    ms bigint NOT NULL,
    seq bigint NOT NULL
);

-- What the front was told of holds in its last moments is told again when its server has changed.
CREATE INDEX orders_released ON orders (released_at) WHERE released_at IS NOT NULL;
CREATE INDEX orders_reclaimed ON orders (updated_at) WHERE hold > 1;

-- sold_out.lua
-- Purpose: read in one step what lets a worker remember that a SKU is sold out, and for whom.
-- KEYS[1] sale    {sN}:sale:<sale_id>         hash
-- KEYS[2] items   {sN}:sale:<sale_id>:items   hash
-- KEYS[3] stock   {sN}:sale:<sale_id>:stock   hash
-- KEYS[4] tokens  {sN}:sale:<sale_id>:tokens  hash
-- KEYS[5] accepts {sN}:sale:<sale_id>:accepts hash
-- ARGV[1] sku     text
-- Returns: {now_ms, window_ms, generation, status, starts_at_ms, ends_at_ms, per_buyer_limit, stock,
--          accepts, tokens}, integers but for the status, which is text;
--          an empty array when the front lacks the sale, the SKU or its stock: ask reserve.lua
--   accepts: purchases of the SKU that were ever accepted; while it stands still, no token is new
--   tokens: purchases of the sale that the front remembers, all SKUs
-- Writes: nothing.
-- Invariant: all of it was true at now_ms, by the store's clock.
-- Complexity: O(1).

local sale_key, items_key, stock_key, tokens_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local accepts_key = KEYS[5]
local sale = redis.call('HMGET', sale_key,
  'window_ms', 'generation', 'status', 'starts_at_ms', 'ends_at_ms')
local packed = redis.call('HGET', items_key, ARGV[1])
local stock = redis.call('HGET', stock_key, ARGV[1])
if not sale[2] or not packed or not stock then return {} end

local time = redis.call('TIME')
return {
  time[1] * 1000 + math.floor(time[2] / 1000), tonumber(sale[1]),
  tonumber(sale[2]), sale[3], tonumber(sale[4]), tonumber(sale[5]),
  tonumber(string.match(packed, '^%d+|(%d+)|')), tonumber(stock),
  tonumber(redis.call('HGET', accepts_key, ARGV[1]) or 0), redis.call('HLEN', tokens_key),
}

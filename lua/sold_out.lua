-- sold_out.lua
-- Purpose: lend a worker the right to refuse an SKU that is sold out by itself, for some tens of
--          milliseconds, and tell it in the same step what that rests on.
-- KEYS[1] sale    {sN}:sale:<sale_id>         hash
-- KEYS[2] items   {sN}:sale:<sale_id>:items   hash
-- KEYS[3] stock   {sN}:sale:<sale_id>:stock   hash
-- KEYS[4] tokens  {sN}:sale:<sale_id>:tokens  hash
-- KEYS[5] accepts {sN}:sale:<sale_id>:accepts hash
-- KEYS[6] leases  {sN}:sale:<sale_id>:leases  hash
-- ARGV[1] sku       text
-- ARGV[2] known     integer, the accepts up to which the worker knows every token; -1: only read
-- ARGV[3] lease_ms  integer 1..1000, how long the worker may refuse
-- Returns: {lent, now_ms, window_ms, generation, status, starts_at_ms, ends_at_ms, per_buyer_limit,
--          stock, accepts, tokens}, integers but for the status, which is text;
--          an empty array when the front lacks the sale, the SKU or its stock: ask reserve.lua
--   lent: 1 when the lease was written: the sale sells, nothing of the SKU is left, and accepts is
--         what the worker knows; else 0
--   accepts: purchases of the SKU that were ever accepted; while it stands still, no token is new
--   tokens: purchases of the sale that the front remembers, all SKUs
-- Writes: leases, when lent: the SKU -> Unix ms before which reserve.lua sells none of it.
-- Invariant: all of it was true at now_ms, by the store's clock. Nothing is lent while units are
--            left, so units that come back are sold when the last lease before them has ended.
-- Complexity: O(1).

local sale_key, items_key, stock_key, tokens_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local accepts_key, leases_key = KEYS[5], KEYS[6]
local known, lease_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
if not known or known ~= math.floor(known) then
  return redis.error_reply('ERR sold_out: known is not an integer')
end
if not lease_ms or lease_ms < 1 or lease_ms > 1000 or lease_ms ~= math.floor(lease_ms) then
  return redis.error_reply('ERR sold_out: lease_ms is not an integer from 1 to 1000')
end

local sale = redis.call('HMGET', sale_key,
  'window_ms', 'generation', 'status', 'starts_at_ms', 'ends_at_ms')
local packed = redis.call('HGET', items_key, ARGV[1])
local stock = redis.call('HGET', stock_key, ARGV[1])
if not sale[2] or not packed or not stock then return {} end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local starts_at_ms, ends_at_ms = tonumber(sale[4]), tonumber(sale[5])
local accepts = tonumber(redis.call('HGET', accepts_key, ARGV[1]) or 0)
local sells = (sale[3] == 'open' or sale[3] == 'scheduled')
  and now_ms >= starts_at_ms and now_ms + lease_ms < ends_at_ms
local lent = 0
if sells and tonumber(stock) == 0 and accepts == known then
  lent = 1
  redis.call('HSET', leases_key, ARGV[1], string.format('%.0f', now_ms + lease_ms))
  redis.call('PEXPIRE', leases_key, 1000)
end
return {
  lent, now_ms, tonumber(sale[1]), tonumber(sale[2]), sale[3], starts_at_ms, ends_at_ms,
  tonumber(string.match(packed, '^%d+|(%d+)|')), tonumber(stock),
  accepts, redis.call('HLEN', tokens_key),
}

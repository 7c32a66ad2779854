-- reclaim.lua
-- Purpose: take the units of a released order again, for a payment that came late.
-- KEYS[1] sale    {sN}:sale:<sale_id>         hash
-- KEYS[2] items   {sN}:sale:<sale_id>:items   hash
-- KEYS[3] stock   {sN}:sale:<sale_id>:stock   hash
-- KEYS[4] sold    {sN}:sale:<sale_id>:sold    hash
-- KEYS[5] buyers  {sN}:sale:<sale_id>:buyers  hash
-- KEYS[6] tokens  {sN}:sale:<sale_id>:tokens  hash
-- ARGV[1] token   10 bytes: the end of the order id
-- ARGV[2] prefix   6 bytes: the start of the order id
-- ARGV[3] buyer   16 bytes
-- ARGV[4] hold    integer 2..255: the new hold, one more than the one that was released
-- Returns: one code
--    1 RECLAIMED
--    2 ALREADY_RECLAIMED  this hold stands already
--    3 STILL_HELD         the hold before has not been released yet
--    4 UNKNOWN_ORDER      no such order, or the hold is not the next one
--    5 SALE_GONE          the sale is not at the front
--   10 SOLD_OUT
--   11 LIMIT_REACHED      the buyer has bought again meanwhile
-- Writes: stock, sold, buyers, tokens. No stream entry: who asks holds the order already.
-- Invariant: stock + sold is unchanged; stock >= 0.
-- Complexity: O(1).

local sale_key, items_key, stock_key, sold_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local buyers_key, tokens_key = KEYS[5], KEYS[6]
local hold = tonumber(ARGV[4])
if not hold or hold < 2 or hold > 255 or hold ~= math.floor(hold) then
  return redis.error_reply('ERR reclaim: hold is not an integer from 2 to 255')
end

if redis.call('EXISTS', sale_key) == 0 then return 5 end
local record = redis.call('HGET', tokens_key, ARGV[1])
if not record or string.sub(record, 3, 8) ~= ARGV[2] then return 4 end

local held = string.byte(record, 2)
if string.sub(record, 1, 1) == 'A' then
  if held == hold then return 2 end
  if held == hold - 1 then return 3 end
  return 4
end
if held ~= hold - 1 then return 4 end

local quantity, sku = string.match(string.sub(record, 17), '^(%d+):%d+:%d+:(.*)$')
quantity = tonumber(quantity)
local packed = redis.call('HGET', items_key, sku)
if not packed then return 4 end
local limit = tonumber(string.match(packed, '^%d+|(%d+)|'))
local stock = tonumber(redis.call('HGET', stock_key, sku) or 0)
local holding_field = ARGV[3] .. sku
local holding = tonumber(redis.call('HGET', buyers_key, holding_field) or 0)
if holding + quantity > limit then return 11 end
if stock < quantity then return 10 end

redis.call('HSET', tokens_key, ARGV[1], 'A' .. string.char(hold) .. string.sub(record, 3))
redis.call('HINCRBY', stock_key, sku, -quantity)
redis.call('HINCRBY', sold_key, sku, quantity)
redis.call('HSET', buyers_key, holding_field, holding + quantity)
return 1

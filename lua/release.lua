-- release.lua
-- Purpose: give the units of one order back, once a hold. The one arrow that leads backwards.
-- KEYS[1] sale    {sN}:sale:<sale_id>         hash
-- KEYS[2] stock   {sN}:sale:<sale_id>:stock   hash
-- KEYS[3] sold    {sN}:sale:<sale_id>:sold    hash
-- KEYS[4] buyers  {sN}:sale:<sale_id>:buyers  hash
-- KEYS[5] tokens  {sN}:sale:<sale_id>:tokens  hash
-- ARGV[1] token   10 bytes: the end of the order id
-- ARGV[2] prefix   6 bytes: the start of the order id
-- ARGV[3] buyer   16 bytes
-- ARGV[4] hold    integer 1..255: which taking of the units is ended; 1 is the click
-- Returns: one code
--   1 RELEASED
--   2 ALREADY_RELEASED  this hold was ended before
--   3 SUPERSEDED        the order holds its units by a newer hold
--   4 UNKNOWN_ORDER     no such order was accepted here, so nothing is given back
--   5 SALE_GONE         the sale is not at the front
-- Writes: stock, sold, buyers, tokens.
-- Invariant: stock + sold is unchanged; never gives back more than was sold.
-- Complexity: O(1).

local sale_key, stock_key, sold_key = KEYS[1], KEYS[2], KEYS[3]
local buyers_key, tokens_key = KEYS[4], KEYS[5]
local hold = tonumber(ARGV[4])
if not hold or hold < 1 or hold > 255 or hold ~= math.floor(hold) then
  return redis.error_reply('ERR release: hold is not an integer from 1 to 255')
end

if redis.call('EXISTS', sale_key) == 0 then return 5 end
local record = redis.call('HGET', tokens_key, ARGV[1])
if not record or string.sub(record, 3, 8) ~= ARGV[2] then return 4 end

local held = string.byte(record, 2)
if held > hold then return 3 end
if held < hold then return 4 end
if string.sub(record, 1, 1) == 'R' then return 2 end

local quantity, sku = string.match(string.sub(record, 17), '^(%d+):%d+:%d+:(.*)$')
quantity = tonumber(quantity)
local sold = tonumber(redis.call('HGET', sold_key, sku) or 0)
if sold < quantity then
  return redis.error_reply('ERR release: more would be given back than was sold')
end
local holding_field = ARGV[3] .. sku
local holding = tonumber(redis.call('HGET', buyers_key, holding_field) or 0)

redis.call('HSET', tokens_key, ARGV[1], 'R' .. string.sub(record, 2))
redis.call('HINCRBY', stock_key, sku, quantity)
redis.call('HINCRBY', sold_key, sku, -quantity)
if holding > quantity then
  redis.call('HSET', buyers_key, holding_field, holding - quantity)
else
  redis.call('HDEL', buyers_key, holding_field)
end
return 1

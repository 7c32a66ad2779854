-- top_up.lua
-- Purpose: add units to one SKU of a sale, or take unsold ones back, while it runs.
-- KEYS[1] sale    {sN}:sale:<sale_id>          hash
-- KEYS[2] stock   {sN}:sale:<sale_id>:stock    hash
-- KEYS[3] top_ups {sN}:sale:<sale_id>:top_ups  set
-- ARGV[1] generation  integer
-- ARGV[2] top_up_id   16 bytes
-- ARGV[3] sku         text
-- ARGV[4] quantity    integer, units; negative takes back
-- Returns: one code
--   1 APPLIED
--   2 ALREADY_APPLIED   this id was applied before
--   3 BELOW_ZERO        fewer units are unsold than were to be taken back
--   4 SALE_MISSING      the front does not know the sale, or the sale does not have the SKU
--   5 STALE_GENERATION  another generation is here
-- Writes: stock, top_ups.
-- Invariant: stock >= 0; each id counts once.
-- Complexity: O(1).

local sale_key, stock_key, top_ups_key = KEYS[1], KEYS[2], KEYS[3]
local quantity = tonumber(ARGV[4])
if not quantity or quantity ~= math.floor(quantity) then
  return redis.error_reply('ERR top_up: quantity is not an integer')
end

local generation = redis.call('HGET', sale_key, 'generation')
local stock = redis.call('HGET', stock_key, ARGV[3])
if not generation or not stock then return 4 end
if generation ~= ARGV[1] then return 5 end
if redis.call('SISMEMBER', top_ups_key, ARGV[2]) == 1 then return 2 end
if tonumber(stock) + quantity < 0 then return 3 end

redis.call('SADD', top_ups_key, ARGV[2])
redis.call('HINCRBY', stock_key, ARGV[3], quantity)
return 1

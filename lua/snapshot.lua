-- snapshot.lua
-- Purpose: read the stock of a sale with the last stream id in one step, for reconciliation.
-- KEYS[1] sale    {sN}:sale:<sale_id>        hash
-- KEYS[2] stock   {sN}:sale:<sale_id>:stock  hash
-- KEYS[3] sold    {sN}:sale:<sale_id>:sold   hash
-- KEYS[4] intents {sN}:intents               stream
-- Returns: {generation, last id, {sku, units, ...} of stock, {sku, units, ...} of sold}; generation 0
--          when it was taken away (fence_sale.lua); an empty array when the front lacks the sale
-- Writes: nothing.
-- Invariant: every entry up to the last id, and none behind it, is in stock and sold.
-- Complexity: O(items).

local sale_key, stock_key, sold_key, intents_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local sale = redis.call('HMGET', sale_key, 'status', 'generation')
if not sale[1] then return {} end

local last_id = '0-0'
if redis.call('EXISTS', intents_key) == 1 then
  local info = redis.call('XINFO', 'STREAM', intents_key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last_id = info[i + 1] end
  end
end
return {
  tonumber(sale[2] or 0), last_id,
  redis.call('HGETALL', stock_key), redis.call('HGETALL', sold_key),
}

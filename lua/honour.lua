-- honour.lua
-- Purpose: take the units of a purchase again that was acknowledged and is not here any more. The
--          caller has verified its receipt, so the price is the promised one, and neither a pause
--          nor the end of the window stands against it (docs/adr/0015).
-- KEYS[1] sale    {sN}:sale:<sale_id>         hash
-- KEYS[2] items   {sN}:sale:<sale_id>:items   hash
-- KEYS[3] stock   {sN}:sale:<sale_id>:stock   hash
-- KEYS[4] sold    {sN}:sale:<sale_id>:sold    hash
-- KEYS[5] buyers  {sN}:sale:<sale_id>:buyers  hash
-- KEYS[6] tokens  {sN}:sale:<sale_id>:tokens  hash
-- KEYS[7] accepts {sN}:sale:<sale_id>:accepts hash
-- KEYS[8] leases  {sN}:sale:<sale_id>:leases  hash
-- KEYS[9] intents {sN}:intents                stream
-- ARGV[1] generation   integer, the newest that the caller has seen
-- ARGV[2] sale_id      16 bytes
-- ARGV[3] who          40 or 56 bytes, as in reserve.lua, with the order id of the receipt
-- ARGV[4] quantity     integer, units from 1 to 999999999
-- ARGV[5] unit_price   integer, minor units: what the receipt promises
-- ARGV[6] sku          text
-- Returns: {code, detail, now_ms, window_ms, last id}; the last id is that of the entry, or empty
--    1 HONOURED          unit price, minor units
--    2 KNOWN             the record of this token: it was never lost, or is here again
--    3 KEY_REUSED        the token belongs to another request by now
--   10 SOLD_OUT          units left, fewer than wanted; 0 while a lease stands (sold_out.lua)
--   11 LIMIT_REACHED     units that the buyer may still have
--   13 ENDED             ends_at_ms: the sale is settled, or about to be (seal_sale.lua)
--   15 SALE_NOT_FOUND    0
--   16 SKU_NOT_IN_SALE   0
--   17 STALE_GENERATION  generation of the store; 0 when it was taken away (fence_sale.lua)
--   18 STOCK_MISSING     0: the item is there and its stock is not
--   19 FILLING           0: a rebuild has not restored all that is known yet; ask again
-- Writes: intents (an entry as reserve.lua writes it), tokens, buyers, stock, sold, accepts.
-- Invariant: that of reserve.lua. A token is one purchase, whether its key or its receipt came
--            first, and however often either comes.
-- Complexity: O(1).

local sale_key, items_key, stock_key, sold_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local buyers_key, tokens_key, accepts_key = KEYS[5], KEYS[6], KEYS[7]
local leases_key, intents_key = KEYS[8], KEYS[9]
-- As in reserve.lua.
local LEASE_MS_MAX = 1000

local who, sku = ARGV[3], ARGV[6]
if #ARGV[2] ~= 16 then
  return redis.error_reply('ERR honour: the sale id is not 16 bytes')
end
if #who ~= 40 and #who ~= 56 then
  return redis.error_reply('ERR honour: a purchase is neither 40 nor 56 bytes')
end
if not string.match(ARGV[4], '^[1-9]%d*$') or #ARGV[4] > 9 then
  return redis.error_reply('ERR honour: the quantity is not a positive integer of nine digits')
end
if not string.match(ARGV[5], '^%d+$') or #ARGV[5] > 15 then
  return redis.error_reply('ERR honour: the price is not an integer of fifteen digits')
end
local quantity, price = tonumber(ARGV[4]), tonumber(ARGV[5])

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local sale = redis.call('HMGET', sale_key,
  'generation', 'status', 'ends_at_ms', 'window_ms', 'filling', 'sealed')
local window_ms = tonumber(sale[4] or 0)
local last_id = ''
local function said(code, detail) return { code, detail, now_ms, window_ms, last_id } end

local token = string.sub(who, 7, 16)
local record = redis.call('HGET', tokens_key, token)
if record then
  if string.sub(record, 9, 16) == string.sub(who, 33, 40) then return said(2, record) end
  return said(3, 0)
end

local STATUSES = { scheduled = true, open = true, paused = true, closed = true }
if not sale[2] then return said(15, 0) end
if sale[1] ~= ARGV[1] then return said(17, tonumber(sale[1] or 0)) end
if sale[5] then return said(19, 0) end
if sale[6] or not STATUSES[sale[2]] then return said(13, tonumber(sale[3])) end

local packed = redis.call('HGET', items_key, sku)
if not packed then return said(16, 0) end
local stock = tonumber(redis.call('HGET', stock_key, sku) or nil)
if not stock then return said(18, 0) end
local limit = tonumber(string.match(packed, '^%d+|(%d+)|'))
local holding_field = string.sub(who, 17, 32) .. sku
local held = tonumber(redis.call('HGET', buyers_key, holding_field) or 0)
if held + quantity > limit then return said(11, limit - held) end
local leased_ms = tonumber(redis.call('HGET', leases_key, sku) or 0) - now_ms
if leased_ms > 0 and leased_ms <= LEASE_MS_MAX then stock = 0 end
if stock < quantity then return said(10, stock) end

local due_ms = now_ms + window_ms
local entry = struct.pack('>I2', #sku) .. ARGV[2]
  .. struct.pack('>I8I8I4I8I4', now_ms, due_ms, tonumber(ARGV[1]), price, quantity) .. who .. sku
record = 'A\1' .. string.sub(who, 1, 6) .. string.sub(who, 33, 40)
  .. ARGV[4] .. ':' .. ARGV[5] .. ':' .. string.format('%.0f', due_ms) .. ':' .. sku

-- Only writes from here. XADD comes first: it is the one that could still be refused.
last_id = redis.call('XADD', intents_key, '*', 'intent', entry)
redis.call('HSET', tokens_key, token, record)
redis.call('HSET', buyers_key, holding_field, held + quantity)
redis.call('HINCRBY', stock_key, sku, -quantity)
redis.call('HINCRBY', sold_key, sku, quantity)
redis.call('HINCRBY', accepts_key, sku, 1)
return said(1, price)

-- reserve.lua
-- Purpose: decide a batch of purchases of one sale, and hand each accepted one to the stream.
--          One atomic step does replay, sale state, window, generation, buyer limit, stock, XADD.
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
-- ARGV[3+7i] token       10 bytes: the end of the order id, hash of buyer, sale and idempotency key
-- ARGV[4+7i] prefix       6 bytes: the start of the order id, Unix ms
-- ARGV[5+7i] fingerprint  8 bytes: end of the buyer id, hash of the request body
-- ARGV[6+7i] buyer       16 bytes
-- ARGV[7+7i] sku         text
-- ARGV[8+7i] quantity    integer, units
-- ARGV[9+7i] address     16 bytes or empty
-- Returns: {now_ms, window_ms, code, detail, code, detail, ...}, a pair a purchase in order:
--    1 ACCEPTED          unit price, minor units
--    2 REPLAYED          the first record of this token (see the head of reservations/records.py)
--    3 KEY_REUSED        the token belongs to another request
--   10 SOLD_OUT          units left, fewer than wanted; 0 while a lease stands (sold_out.lua)
--   11 LIMIT_REACHED     units that the buyer may still have
--   12 NOT_STARTED       starts_at_ms
--   13 ENDED             ends_at_ms
--   14 PAUSED            0
--   15 SALE_NOT_FOUND    0
--   16 SKU_NOT_IN_SALE   0
--   17 STALE_GENERATION  generation of the store
--   18 STOCK_MISSING     0: the item is there and its stock is not; refused, never defaulted
-- Writes: intents (an entry a purchase), tokens, buyers, stock, sold, accepts.
-- Invariant: stock + sold is unchanged for each SKU; stock >= 0; an entry exists if and only if the
--            units were taken; accepts grows by one a new token, so while it stands still, no token
--            of the SKU is new; no token of an SKU is new while a lease on it stands.
-- Complexity: O(purchases); six commands a batch, six a SKU and one XADD an accepted purchase.

local sale_key, items_key, stock_key, sold_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local buyers_key, tokens_key, accepts_key = KEYS[5], KEYS[6], KEYS[7]
local leases_key, intents_key = KEYS[8], KEYS[9]
-- A lease that ends later than this from now was written under another clock, and is void.
local LEASE_MS_MAX = 1000

local STRIDE, FIRST = 7, 3
local count = (#ARGV - FIRST + 1) / STRIDE
if count < 1 or count ~= math.floor(count) then
  return redis.error_reply('ERR reserve: the arguments are not whole purchases')
end
for i = 0, count - 1 do
  local quantity = tonumber(ARGV[FIRST + i * STRIDE + 5])
  if not quantity or quantity < 1 or quantity ~= math.floor(quantity) then
    return redis.error_reply('ERR reserve: a quantity is not a positive integer')
  end
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local sale = redis.call('HMGET', sale_key,
  'generation', 'status', 'starts_at_ms', 'ends_at_ms', 'window_ms')
local window_ms = tonumber(sale[5] or 0)

-- What refuses every purchase of the batch that is not a replay.
local closed_code, closed_detail
if not sale[1] then
  closed_code, closed_detail = 15, 0
elseif sale[1] ~= ARGV[1] then
  closed_code, closed_detail = 17, tonumber(sale[1])
elseif sale[2] == 'closed' or sale[2] == 'settled' or now_ms >= tonumber(sale[4]) then
  closed_code, closed_detail = 13, tonumber(sale[4])
elseif now_ms < tonumber(sale[3]) then
  closed_code, closed_detail = 12, tonumber(sale[3])
elseif sale[2] == 'paused' then
  closed_code, closed_detail = 14, 0
elseif sale[2] ~= 'open' and sale[2] ~= 'scheduled' then
  closed_code, closed_detail = 15, 0
end

local token_fields, holding_fields = {}, {}
for i = 0, count - 1 do
  local at = FIRST + i * STRIDE
  token_fields[i + 1] = ARGV[at]
  holding_fields[i + 1] = ARGV[at + 3] .. ARGV[at + 4]
end
local records = redis.call('HMGET', tokens_key, unpack(token_fields))
local holdings = redis.call('HMGET', buyers_key, unpack(holding_fields))

-- What this batch has changed so far; read before what the store held when it began.
local new_records, new_holdings = {}, {}
local items, stock, taken, accepts = {}, {}, {}, {}
local reply = { now_ms, window_ms }
local accepted = {}

local function load_item(sku)
  local packed = redis.call('HGET', items_key, sku)
  if not packed then
    items[sku] = false
    return
  end
  local price, limit = string.match(packed, '^(%d+)|(%d+)|')
  items[sku] = { price = price, limit = tonumber(limit) }
  stock[sku] = tonumber(redis.call('HGET', stock_key, sku) or nil)
  taken[sku], accepts[sku] = 0, 0
  if (stock[sku] or 0) > 0 then
    local leased_ms = tonumber(redis.call('HGET', leases_key, sku) or 0) - now_ms
    if leased_ms > 0 and leased_ms <= LEASE_MS_MAX then stock[sku] = 0 end
  end
end

for i = 0, count - 1 do
  local at = FIRST + i * STRIDE
  local token, fingerprint, sku = ARGV[at], ARGV[at + 2], ARGV[at + 4]
  local quantity = tonumber(ARGV[at + 5])
  local code, detail
  local record = new_records[token] or records[i + 1]
  if record then
    if string.sub(record, 9, 16) == fingerprint then
      code, detail = 2, record
    else
      code, detail = 3, 0
    end
  elseif closed_code then
    code, detail = closed_code, closed_detail
  else
    if items[sku] == nil then load_item(sku) end
    local item = items[sku]
    local holding_field = holding_fields[i + 1]
    local held = tonumber(new_holdings[holding_field] or holdings[i + 1] or 0)
    if not item then
      code, detail = 16, 0
    elseif not stock[sku] then
      code, detail = 18, 0
    elseif held + quantity > item.limit then
      code, detail = 11, item.limit - held
    elseif stock[sku] < quantity then
      code, detail = 10, stock[sku]
    else
      code, detail = 1, tonumber(item.price)
      stock[sku] = stock[sku] - quantity
      taken[sku] = taken[sku] + quantity
      accepts[sku] = accepts[sku] + 1
      new_holdings[holding_field] = held + quantity
      new_records[token] = 'A\1' .. ARGV[at + 1] .. fingerprint .. ARGV[at + 5] .. ':'
        .. item.price .. ':' .. string.format('%.0f', now_ms + window_ms) .. ':' .. sku
      accepted[#accepted + 1] = at
    end
  end
  reply[#reply + 1] = code
  reply[#reply + 1] = detail
end

if #accepted == 0 then
  return reply
end

-- Only writes from here. XADD comes first: it is the one that could still be refused.
local now_text = string.format('%.0f', now_ms)
local due_text = string.format('%.0f', now_ms + window_ms)
for n = 1, #accepted do
  local at = accepted[n]
  redis.call('XADD', intents_key, '*',
    'order_id', ARGV[at + 1] .. ARGV[at],
    'buyer_id', ARGV[at + 3],
    'sale_id', ARGV[2],
    'sku', ARGV[at + 4],
    'quantity', ARGV[at + 5],
    'unit_price', items[ARGV[at + 4]].price,
    'address_id', ARGV[at + 6],
    'fingerprint', ARGV[at + 2],
    'accepted_ms', now_text,
    'due_ms', due_text,
    'generation', ARGV[1])
end

local function flatten(map)
  local flat = {}
  for field, value in pairs(map) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  return unpack(flat)
end

redis.call('HSET', tokens_key, flatten(new_records))
redis.call('HSET', buyers_key, flatten(new_holdings))
for sku, units in pairs(taken) do
  if units > 0 then
    redis.call('HINCRBY', stock_key, sku, -units)
    redis.call('HINCRBY', sold_key, sku, units)
    redis.call('HINCRBY', accepts_key, sku, accepts[sku])
  end
end
return reply

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
-- ARGV[3+2i] who    40 or 56 bytes: order id 16 (prefix 6: Unix ms; token 10: hash of buyer, sale
--                  and idempotency key), buyer 16, fingerprint 8 (end of the buyer id, hash of the
--                  request body), address 16 or nothing
-- ARGV[4+2i] wish   quantity:sku, units from 1 to 999999999
-- Returns: {now_ms, window_ms, last id, code, detail, code, detail, ...}, a pair a purchase in order;
--          the last id is that of the newest entry of this batch, or empty where none was accepted
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
--   17 STALE_GENERATION  generation of the store; 0 when it was taken away (fence_sale.lua)
--   18 STOCK_MISSING     0: the item is there and its stock is not; refused, never defaulted
-- Writes: intents (an entry a purchase, as kernel/intents.py has it), tokens, buyers, stock, sold,
--         accepts.
-- Invariant: stock + sold is unchanged for each SKU; stock >= 0; an entry exists if and only if the
--            units were taken; accepts grows by one a new token, so while it stands still, no token
--            of the SKU is new; no token of an SKU is new while a lease on it stands.
-- Complexity: O(purchases); six commands a batch, six a SKU and one XADD an accepted purchase.

local sale_key, items_key, stock_key, sold_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local buyers_key, tokens_key, accepts_key = KEYS[5], KEYS[6], KEYS[7]
local leases_key, intents_key = KEYS[8], KEYS[9]
-- A lease that ends later than this from now was written under another clock, and is void.
local LEASE_MS_MAX = 1000

local STRIDE, FIRST = 2, 3
local count = (#ARGV - FIRST + 1) / STRIDE
if count < 1 or count ~= math.floor(count) then
  return redis.error_reply('ERR reserve: the arguments are not whole purchases')
end

-- Each distinct wish is read once; a batch has thousands of arguments and few of these.
local wishes = {}
local function read_wish(text)
  local quantity, sku = string.match(text, '^([1-9]%d*):(.*)$')
  if not quantity or #quantity > 9 then return nil end
  local wish = { sku = sku, quantity = tonumber(quantity), quantity_text = quantity }
  wishes[text] = wish
  return wish
end

local token_fields, holding_fields = {}, {}
for i = 1, count do
  local at = FIRST + (i - 1) * STRIDE
  local who = ARGV[at]
  local wish = wishes[ARGV[at + 1]] or read_wish(ARGV[at + 1])
  if not wish then
    return redis.error_reply('ERR reserve: a quantity is not a positive integer of nine digits')
  end
  if #who ~= 40 and #who ~= 56 then
    return redis.error_reply('ERR reserve: a purchase is neither 40 nor 56 bytes')
  end
  token_fields[i] = string.sub(who, 7, 16)
  holding_fields[i] = string.sub(who, 17, 32) .. wish.sku
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local sale = redis.call('HMGET', sale_key,
  'generation', 'status', 'starts_at_ms', 'ends_at_ms', 'window_ms')
local window_ms = tonumber(sale[5] or 0)

-- What refuses every purchase of the batch that is not a replay.
local closed_code, closed_detail
if not sale[2] then
  closed_code, closed_detail = 15, 0
elseif sale[1] ~= ARGV[1] then
  closed_code, closed_detail = 17, tonumber(sale[1] or 0)
elseif sale[2] == 'closed' or sale[2] == 'settled' or now_ms >= tonumber(sale[4]) then
  closed_code, closed_detail = 13, tonumber(sale[4])
elseif now_ms < tonumber(sale[3]) then
  closed_code, closed_detail = 12, tonumber(sale[3])
elseif sale[2] == 'paused' then
  closed_code, closed_detail = 14, 0
elseif sale[2] ~= 'open' and sale[2] ~= 'scheduled' then
  closed_code, closed_detail = 15, 0
end

local records = redis.call('HMGET', tokens_key, unpack(token_fields))
local holdings = redis.call('HMGET', buyers_key, unpack(holding_fields))

-- What this batch has changed so far; read before what the store held when it began.
local new_records, new_holdings = {}, {}
local items = {}
local reply = { now_ms, window_ms, '' }
local entries, token_pairs, holding_pairs = {}, {}, {}
local due_text = string.format('%.0f', now_ms + window_ms)

local function load_item(sku)
  local packed = redis.call('HGET', items_key, sku)
  if not packed then
    items[sku] = false
    return false
  end
  local price, limit = string.match(packed, '^(%d+)|(%d+)|')
  local stock = tonumber(redis.call('HGET', stock_key, sku) or nil)
  if stock and stock > 0 then
    local leased_ms = tonumber(redis.call('HGET', leases_key, sku) or 0) - now_ms
    if leased_ms > 0 and leased_ms <= LEASE_MS_MAX then stock = 0 end
  end
  local item = {
    price_text = price, price = tonumber(price), limit = tonumber(limit),
    stock = stock, taken = 0, accepts = 0,
  }
  items[sku] = item
  return item
end

-- What the records, and the entries, of one wish have in common in this batch.
local function write_common(wish, item)
  wish.record_end =
    wish.quantity_text .. ':' .. item.price_text .. ':' .. due_text .. ':' .. wish.sku
  wish.entry_start = struct.pack('>I2', #wish.sku) .. ARGV[2] .. struct.pack('>I8I8I4I8I4',
    now_ms, now_ms + window_ms, tonumber(ARGV[1]), item.price, wish.quantity)
end

for i = 1, count do
  local at = FIRST + (i - 1) * STRIDE
  local token, who = token_fields[i], ARGV[at]
  local code, detail
  local record = new_records[token] or records[i]
  if record then
    if string.sub(record, 9, 16) == string.sub(who, 33, 40) then
      code, detail = 2, record
    else
      code, detail = 3, 0
    end
  elseif closed_code then
    code, detail = closed_code, closed_detail
  else
    local wish = wishes[ARGV[at + 1]]
    local sku, quantity = wish.sku, wish.quantity
    local item = items[sku]
    if item == nil then item = load_item(sku) end
    local holding_field = holding_fields[i]
    local held = tonumber(new_holdings[holding_field] or holdings[i] or 0)
    if not item then
      code, detail = 16, 0
    elseif not item.stock then
      code, detail = 18, 0
    elseif held + quantity > item.limit then
      code, detail = 11, item.limit - held
    elseif item.stock < quantity then
      code, detail = 10, item.stock
    else
      code, detail = 1, item.price
      item.stock = item.stock - quantity
      item.taken = item.taken + quantity
      item.accepts = item.accepts + 1
      if not wish.entry_start then write_common(wish, item) end
      record = 'A\1' .. string.sub(who, 1, 6) .. string.sub(who, 33, 40) .. wish.record_end
      new_records[token] = record
      new_holdings[holding_field] = held + quantity
      local n = #entries + 1
      entries[n] = wish.entry_start .. who .. sku
      token_pairs[2 * n - 1], token_pairs[2 * n] = token, record
      -- A buyer who bought twice comes twice: the later number is the one that stays.
      holding_pairs[2 * n - 1], holding_pairs[2 * n] = holding_field, held + quantity
    end
  end
  reply[2 * i + 2], reply[2 * i + 3] = code, detail
end

if #entries == 0 then
  return reply
end

-- Only writes from here. XADD comes first: it is the one that could still be refused.
for n = 1, #entries do
  reply[3] = redis.call('XADD', intents_key, '*', 'intent', entries[n])
end
redis.call('HSET', tokens_key, unpack(token_pairs))
redis.call('HSET', buyers_key, unpack(holding_pairs))
for sku, item in pairs(items) do
  if item and item.taken > 0 then
    redis.call('HINCRBY', stock_key, sku, -item.taken)
    redis.call('HINCRBY', sold_key, sku, item.taken)
    redis.call('HINCRBY', accepts_key, sku, item.accepts)
  end
end
return reply

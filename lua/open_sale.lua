-- open_sale.lua
-- Purpose: bring a sale to the front with its whole stock, once a generation.
--          A newer generation replaces an older one entirely; restore.lua then fills it.
-- KEYS[1] sales   {sN}:sales                   set
-- KEYS[2] sale    {sN}:sale:<sale_id>          hash
-- KEYS[3] items   {sN}:sale:<sale_id>:items    hash
-- KEYS[4] stock   {sN}:sale:<sale_id>:stock    hash
-- KEYS[5] sold    {sN}:sale:<sale_id>:sold     hash
-- KEYS[6] buyers  {sN}:sale:<sale_id>:buyers   hash
-- KEYS[7] tokens  {sN}:sale:<sale_id>:tokens   hash
-- KEYS[8] accepts {sN}:sale:<sale_id>:accepts  hash
-- KEYS[9] top_ups {sN}:sale:<sale_id>:top_ups  set
-- ARGV[1] sale_id       text
-- ARGV[2] generation    integer, from 1
-- ARGV[3] revision      integer, from 1
-- ARGV[4] status        scheduled, open, paused, closed, or filling: paused, and honour.lua takes
--                       nothing before change_sale.lua says how the sale goes on
-- ARGV[5] title         text
-- ARGV[6] currency      ISO 4217 code
-- ARGV[7] starts_at_ms  Unix ms
-- ARGV[8] ends_at_ms    Unix ms
-- ARGV[9] window_ms     milliseconds that a buyer has to pay
-- ARGV[10+3i] sku       text
-- ARGV[11+3i] item      price|limit|list price|name
-- ARGV[12+3i] quantity  integer, units of this shard
-- Returns: one code
--   1 OPENED
--   2 ALREADY_OPEN      this generation is here; nothing was changed
--   3 STALE_GENERATION  a newer one is here, or this one was fenced; nothing was changed
-- Writes: all keys.
-- Invariant: the stock of a generation is written once.
-- Complexity: O(items); a replaced generation is freed in the background.

local sales_key, sale_key, items_key, stock_key, sold_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local STRIDE, FIRST = 3, 10
local count = (#ARGV - FIRST + 1) / STRIDE
if count < 1 or count ~= math.floor(count) then
  return redis.error_reply('ERR open_sale: the arguments are not whole items')
end
local function whole(text, least)
  return string.match(text, '^%d+$') and #text <= 15 and tonumber(text) >= least
end
local STATUSES = { scheduled = true, open = true, paused = true, closed = true, filling = true }
if not (whole(ARGV[2], 1) and whole(ARGV[3], 1)) then
  return redis.error_reply('ERR open_sale: generation or revision is not a positive integer')
end
if not STATUSES[ARGV[4]] then
  return redis.error_reply('ERR open_sale: this is no status of a sale at the front')
end
if not (whole(ARGV[7], 0) and whole(ARGV[8], 0) and tonumber(ARGV[7]) < tonumber(ARGV[8])) then
  return redis.error_reply('ERR open_sale: the times are not Unix ms, the start before the end')
end
if not whole(ARGV[9], 1) then
  return redis.error_reply('ERR open_sale: window_ms is not a positive integer')
end
for i = 0, count - 1 do
  local at = FIRST + i * STRIDE
  if not string.match(ARGV[at + 1], '^%d+|%d+|%d+|') then
    return redis.error_reply('ERR open_sale: an item is not price|limit|list price|name')
  end
  if not whole(ARGV[at + 2], 0) then
    return redis.error_reply('ERR open_sale: a quantity is not a whole number')
  end
end

local sale = redis.call('HMGET', sale_key, 'generation', 'fenced')
local present, wanted = tonumber(sale[1] or 0), tonumber(ARGV[2])
if present == wanted then return 2 end
if present > wanted or tonumber(sale[2] or 0) >= wanted then return 3 end

redis.call('SADD', sales_key, ARGV[1])
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
for i = 0, count - 1 do
  local at = FIRST + i * STRIDE
  redis.call('HSET', items_key, ARGV[at], ARGV[at + 1])
  redis.call('HSET', stock_key, ARGV[at], ARGV[at + 2])
  redis.call('HSET', sold_key, ARGV[at], 0)
end
local status = ARGV[4]
if status == 'filling' then
  status = 'paused'
  redis.call('HSET', sale_key, 'filling', 1)
end
redis.call('HSET', sale_key,
  'generation', ARGV[2], 'revision', ARGV[3], 'status', status, 'title', ARGV[5],
  'currency', ARGV[6], 'starts_at_ms', ARGV[7], 'ends_at_ms', ARGV[8], 'window_ms', ARGV[9])
return 1

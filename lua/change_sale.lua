-- change_sale.lua
-- Purpose: bring status, window, limits and prices of a sale up to a revision; never its stock.
--          A generation that was filled anew is full from then on.
-- KEYS[1] sale   {sN}:sale:<sale_id>        hash
-- KEYS[2] items  {sN}:sale:<sale_id>:items  hash
-- ARGV[1] generation    integer, from 1
-- ARGV[2] revision      integer, from 1
-- ARGV[3] status        scheduled, open, paused or closed
-- ARGV[4] title         text
-- ARGV[5] starts_at_ms  Unix ms
-- ARGV[6] ends_at_ms    Unix ms
-- ARGV[7] window_ms     milliseconds that a buyer has to pay
-- ARGV[8+2i] sku        text; one that the sale does not have is passed over
-- ARGV[9+2i] item       price|limit|list price|name
-- Returns: one code
--   1 CHANGED
--   2 NOT_NEWER         this revision, or a newer one, is here
--   3 SALE_MISSING      the front does not know the sale
--   4 STALE_GENERATION  another generation is here
-- Writes: sale, items.
-- Invariant: revisions only grow, so changes that arrive in any order end the same.
-- Complexity: O(items).

local sale_key, items_key = KEYS[1], KEYS[2]
local STRIDE, FIRST = 2, 8
local count = (#ARGV - FIRST + 1) / STRIDE
if count ~= math.floor(count) then
  return redis.error_reply('ERR change_sale: the arguments are not whole items')
end
local function whole(text, least)
  return string.match(text, '^%d+$') and #text <= 15 and tonumber(text) >= least
end
local STATUSES = { scheduled = true, open = true, paused = true, closed = true }
if not (whole(ARGV[1], 1) and whole(ARGV[2], 1)) then
  return redis.error_reply('ERR change_sale: generation or revision is not a positive integer')
end
if not STATUSES[ARGV[3]] then
  return redis.error_reply('ERR change_sale: this is no status of a sale at the front')
end
if not (whole(ARGV[5], 0) and whole(ARGV[6], 0) and tonumber(ARGV[5]) < tonumber(ARGV[6])) then
  return redis.error_reply('ERR change_sale: the times are not Unix ms, the start before the end')
end
if not whole(ARGV[7], 1) then
  return redis.error_reply('ERR change_sale: window_ms is not a positive integer')
end
for i = 0, count - 1 do
  if not string.match(ARGV[FIRST + i * STRIDE + 1], '^%d+|%d+|%d+|') then
    return redis.error_reply('ERR change_sale: an item is not price|limit|list price|name')
  end
end

local present = redis.call('HMGET', sale_key, 'generation', 'revision')
if not present[1] then return 3 end
if present[1] ~= ARGV[1] then return 4 end
if tonumber(present[2]) >= tonumber(ARGV[2]) then return 2 end

for i = 0, count - 1 do
  local at = FIRST + i * STRIDE
  if redis.call('HEXISTS', items_key, ARGV[at]) == 1 then
    redis.call('HSET', items_key, ARGV[at], ARGV[at + 1])
  end
end
redis.call('HSET', sale_key,
  'revision', ARGV[2], 'status', ARGV[3], 'title', ARGV[4],
  'starts_at_ms', ARGV[5], 'ends_at_ms', ARGV[6], 'window_ms', ARGV[7])
redis.call('HDEL', sale_key, 'filling')
return 1

-- restore.lua
-- Purpose: put purchases that PostgreSQL knows back into a generation that was opened anew.
-- KEYS[1] sale    {sN}:sale:<sale_id>         hash
-- KEYS[2] stock   {sN}:sale:<sale_id>:stock   hash
-- KEYS[3] sold    {sN}:sale:<sale_id>:sold    hash
-- KEYS[4] buyers  {sN}:sale:<sale_id>:buyers  hash
-- KEYS[5] tokens  {sN}:sale:<sale_id>:tokens  hash
-- KEYS[6] accepts {sN}:sale:<sale_id>:accepts hash
-- ARGV[1] generation  integer
-- ARGV[2+5i] token     10 bytes: the end of the order id
-- ARGV[3+5i] record    the purchase's record (see the head of reservations/records.py)
-- ARGV[4+5i] buyer     16 bytes
-- ARGV[5+5i] sku       text
-- ARGV[6+5i] quantity  integer, units
-- Returns: {code, restored, refused}
--   1 RESTORED          restored: purchases that were not here; refused: those without stock left
--   2 SALE_MISSING      the front does not know the sale
--   3 STALE_GENERATION  another generation is here
--   4 SALE_IS_OPEN      the sale sells already; pause it first
-- Writes: tokens, buyers, stock, sold, accepts. It takes units only, so nobody is told.
-- Invariant: stock + sold is unchanged; a token counts once, so a chunk may be sent again.
-- Complexity: O(purchases).

local sale_key, stock_key, sold_key = KEYS[1], KEYS[2], KEYS[3]
local buyers_key, tokens_key, accepts_key = KEYS[4], KEYS[5], KEYS[6]
local STRIDE, FIRST = 5, 2
local count = (#ARGV - FIRST + 1) / STRIDE
if count ~= math.floor(count) then
  return redis.error_reply('ERR restore: the arguments are not whole purchases')
end
for i = 0, count - 1 do
  local at = FIRST + i * STRIDE
  local token, record, buyer, sku = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if #token ~= 10 or #buyer ~= 16 then
    return redis.error_reply('ERR restore: a token or a buyer has a wrong length')
  end
  local units, named = string.match(string.sub(record, 17), '^(%d+):%d+:%d+:(.*)$')
  local state, hold = string.byte(record, 1, 2)
  if not units or (state ~= 65 and state ~= 82) or hold == 0 then
    return redis.error_reply('ERR restore: a record cannot be read')
  end
  -- release.lua goes by the record, so it must say what is taken here.
  if units ~= ARGV[at + 4] or not string.match(units, '^[1-9]') or #units > 15 or named ~= sku then
    return redis.error_reply('ERR restore: a record does not say its SKU and its positive quantity')
  end
end

local sale = redis.call('HMGET', sale_key, 'generation', 'status')
if not sale[1] then return { 2, 0, 0 } end
if sale[1] ~= ARGV[1] then return { 3, 0, 0 } end
if sale[2] == 'open' or sale[2] == 'scheduled' then return { 4, 0, 0 } end

local restored, refused = 0, 0
for i = 0, count - 1 do
  local at = FIRST + i * STRIDE
  local token, record, sku = ARGV[at], ARGV[at + 1], ARGV[at + 3]
  local quantity = tonumber(ARGV[at + 4])
  if redis.call('HEXISTS', tokens_key, token) == 0 then
    local holds = string.sub(record, 1, 1) == 'A'
    local stock = tonumber(redis.call('HGET', stock_key, sku) or 0)
    if holds and stock < quantity then
      refused = refused + 1
    else
      restored = restored + 1
      redis.call('HSET', tokens_key, token, record)
      redis.call('HINCRBY', accepts_key, sku, 1)
      if holds then
        redis.call('HINCRBY', stock_key, sku, -quantity)
        redis.call('HINCRBY', sold_key, sku, quantity)
        redis.call('HINCRBY', buyers_key, ARGV[at + 2] .. sku, quantity)
      end
    end
  end
end
return { 1, restored, refused }

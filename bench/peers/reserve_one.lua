-- reserve_one.lua
-- Purpose: decide one purchase as a service without batches would: the same semantics as
--          lua/reserve.lua (replay, sale open, buyer limit, stock, XADD), and no command more.
-- KEYS[1] sale    hash: status, price, limit
-- KEYS[2] stock   hash: SKU -> units
-- KEYS[3] buyers  hash: buyer and SKU -> units held
-- KEYS[4] tokens  hash: token -> order id
-- KEYS[5] intents stream
-- ARGV[1] token, ARGV[2] buyer, ARGV[3] SKU, ARGV[4] units
-- Returns: {code, detail}: 1 ACCEPTED order id, 2 REPLAYED order id, 10 SOLD_OUT, 11 LIMIT_REACHED,
--          14 CLOSED.
local known = redis.call('HGET', KEYS[4], ARGV[1])
if known then return { 2, known } end
local sale = redis.call('HMGET', KEYS[1], 'status', 'price', 'limit')
if sale[1] ~= 'open' then return { 14, '' } end
local quantity = tonumber(ARGV[4])
local holding = ARGV[2] .. ARGV[3]
local held = tonumber(redis.call('HGET', KEYS[3], holding) or 0)
if held + quantity > tonumber(sale[3]) then return { 11, '' } end
local stock = tonumber(redis.call('HGET', KEYS[2], ARGV[3]) or 0)
if stock < quantity then return { 10, '' } end
local order_id = redis.call('XADD', KEYS[5], '*', 'token', ARGV[1], 'buyer_id', ARGV[2],
  'sku', ARGV[3], 'quantity', ARGV[4], 'unit_price', sale[2])
redis.call('HSET', KEYS[4], ARGV[1], order_id)
redis.call('HSET', KEYS[3], holding, held + quantity)
redis.call('HINCRBY', KEYS[2], ARGV[3], -quantity)
return { 1, order_id }

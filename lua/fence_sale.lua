-- fence_sale.lua
-- Purpose: close a sale for good in its generation, because the store that it stands in is behind
--          what was told. Only a newer generation sells again (open_sale.lua).
-- KEYS[1] life {sN}:life            hash
-- KEYS[2] sale {sN}:sale:<sale_id>  hash
-- ARGV[1] identity  text, the server that was found behind (check_life.lua)
-- Returns: one code
--   1 FENCED
--   2 ALREADY       it has no generation any more
--   3 SALE_MISSING  the front does not know the sale
--   4 MOVED         another server answers than was found behind
--   5 GIVEN_UP      its loss was given up meanwhile: what stands here now was opened since
-- Writes: sale: its generation goes, is kept as fenced, and the status is paused.
-- Invariant: without a generation no purchase, change, top-up or lease finds the one it names.
-- Complexity: O(1); one section of INFO.

local life_key, sale_key = KEYS[1], KEYS[2]
local identity = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if identity ~= ARGV[1] then return 4 end
local life = redis.call('HMGET', life_key, 'identity', 'gave_up')
if life[1] == identity and life[2] == identity then return 5 end
if redis.call('EXISTS', sale_key) == 0 then return 3 end
local generation = redis.call('HGET', sale_key, 'generation')
if not generation then return 2 end

redis.call('HSET', sale_key, 'fenced', generation, 'status', 'paused')
redis.call('HDEL', sale_key, 'generation')
return 1

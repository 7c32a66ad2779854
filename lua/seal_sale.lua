-- seal_sale.lua
-- Purpose: take no receipt of a closed sale any more, so that what it has sold stands still while
--          it is settled (docs/adr/0015).
-- KEYS[1] sale  {sN}:sale:<sale_id>  hash
-- Returns: one code
--   1 SEALED
--   2 SALE_MISSING  the front does not know the sale
--   3 NOT_CLOSED    the sale may still sell
-- Writes: sale: the field sealed, which honour.lua reads; only a new generation is without it.
-- Invariant: nothing is sold of a sealed sale. May be called again.
-- Complexity: O(1).

local sale_key = KEYS[1]
local status = redis.call('HGET', sale_key, 'status')
if not status then return 2 end
if status ~= 'closed' then return 3 end
redis.call('HSET', sale_key, 'sealed', 1)
return 1

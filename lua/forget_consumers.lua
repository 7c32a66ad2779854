-- forget_consumers.lua
-- Purpose: take the names of consumers that died off the group. One step asks and removes, because
--          a consumer that read in between would lose what it was handed.
-- KEYS[1] intents {sN}:intents  stream
-- ARGV[1] group    text
-- ARGV[2] idle_ms  milliseconds of silence after which a consumer is taken for dead
-- Returns: how many names were removed
-- Writes: intents (its group).
-- Invariant: a consumer with pending entries stays, so no entry is lost; they are claimed first.
-- Complexity: O(consumers).

local intents_key = KEYS[1]
local idle_ms = tonumber(ARGV[2])
if not idle_ms then
  return redis.error_reply('ERR forget_consumers: idle_ms is not a number')
end
if redis.call('EXISTS', intents_key) == 0 then return 0 end

local forgotten = 0
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', intents_key, ARGV[1])) do
  local consumer = {}
  for i = 1, #flat, 2 do consumer[flat[i]] = flat[i + 1] end
  if consumer.pending == 0 and consumer.idle >= idle_ms then
    redis.call('XGROUP', 'DELCONSUMER', intents_key, ARGV[1], consumer.name)
    forgotten = forgotten + 1
  end
end
return forgotten

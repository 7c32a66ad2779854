-- mark.lua
-- Purpose: let the stream's last id rise without an entry, so that a store that lacks what was
--          written before can be told from one that has it (a generation that was filled anew).
-- KEYS[1] intents {sN}:intents  stream
-- ARGV[1] identity  text, the server that was written to (check_life.lua)
-- ARGV[2] group     text, the consumers' group, made with the stream if that is not there yet
-- Returns: {code, the new last id}
--   1 MARKED
--   2 MOVED   another server answers, with 0-0
-- Writes: intents (its last id; the stream itself if it is not there).
-- Invariant: the id is above every id before it, and no entry ever has it.
-- Complexity: O(1); one section of INFO.

local intents_key = KEYS[1]
if string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') ~= ARGV[1] then
  return { 2, '0-0' }
end
if redis.call('EXISTS', intents_key) == 0 then
  redis.call('XGROUP', 'CREATE', intents_key, ARGV[2], '0', 'MKSTREAM')
end
local ms, seq
local info = redis.call('XINFO', 'STREAM', intents_key)
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then ms, seq = string.match(info[i + 1], '(%d+)%-(%d+)') end
end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local id = ms .. '-' .. string.format('%.0f', seq + 1)
if now_ms > tonumber(ms) then id = string.format('%.0f', now_ms) .. '-0' end
redis.call('XSETID', intents_key, id)
return { 1, id }

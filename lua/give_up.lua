-- give_up.lua
-- Purpose: begin a life that does without what its server lacks, when every sale of it is fenced.
--          The stream goes on above whatever anybody knows, so that no id is given twice and a later
--          life is held against what this one has.
-- KEYS[1] life    {sN}:life     hash
-- KEYS[2] intents {sN}:intents  stream
-- ARGV[1] identity  text, the server that was found behind (check_life.lua)
-- ARGV[2] known     id of the highest entry that anybody knows of; 0-0: of none
-- ARGV[3] group     text, the consumers' group, made with the stream if that is gone
-- Returns: one code
--   1 GIVEN_UP
--   2 ALREADY  somebody was first
--   3 MOVED    another server answers than was found behind
-- Writes: life, intents (its last id; the stream itself if it is not there).
-- Invariant: the stream's last id never falls.
-- Complexity: O(1); one section of INFO.

local life_key, intents_key = KEYS[1], KEYS[2]
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return ms and { ms, seq }
end
-- As text: an id may have more digits than a number of Lua's can hold.
local function above(one, other)
  for i = 1, 2 do
    if #one[i] ~= #other[i] then return #one[i] > #other[i] end
    if one[i] ~= other[i] then return one[i] > other[i] end
  end
  return false
end
local known = parts(ARGV[2])
if not known then return redis.error_reply('ERR give_up: known is no id of an entry') end

local identity = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if identity ~= ARGV[1] then return 3 end
local life = redis.call('HMGET', life_key, 'identity', 'gave_up')
local already = life[1] == identity and life[2] == identity

if redis.call('EXISTS', intents_key) == 0 then
  redis.call('XGROUP', 'CREATE', intents_key, ARGV[3], '0', 'MKSTREAM')
end
local last_id
local info = redis.call('XINFO', 'STREAM', intents_key)
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then last_id = info[i + 1] end
end
if above(known, parts(last_id)) then
  last_id = ARGV[2]
  redis.call('XSETID', intents_key, last_id)
end
if already then return 2 end
redis.call('HSET', life_key,
  'identity', identity, 'lives', ' ' .. identity .. '@' .. last_id, 'gave_up', identity)
return 1

-- begin_life.lua
-- Purpose: write down that what this server holds of a shard was held against what is known, and
--          lacks nothing.
-- KEYS[1] life    {sN}:life     hash
-- KEYS[2] intents {sN}:intents  stream
-- ARGV[1] identity  text, the server that was looked at (check_life.lua)
-- ARGV[2] applied   id of the highest that PostgreSQL knew while this life had not begun; 0-0: none
-- Returns: one code
--   1 BEGUN
--   2 ALREADY  somebody was first, who may have known less: check again
--   3 BEHIND   the stream ends before what is known
--   4 MOVED    another server answers than was looked at
-- Writes: life.
-- Invariant: a life that has begun is begun again only by giving up what it lacks (give_up.lua).
-- Complexity: O(lives), which are few; one section of INFO.

local life_key, intents_key = KEYS[1], KEYS[2]
local LIVES_MAX = 16
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
local applied = parts(ARGV[2])
if not applied then return redis.error_reply('ERR begin_life: applied is no id of an entry') end

local identity = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if identity ~= ARGV[1] then return 4 end
local life = redis.call('HMGET', life_key, 'identity', 'lives')
if life[1] == identity then return 2 end

local last_id = '0-0'
if redis.call('EXISTS', intents_key) == 1 then
  local info = redis.call('XINFO', 'STREAM', intents_key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last_id = info[i + 1] end
  end
end
if above(applied, parts(last_id)) then return 3 end

local lives = (life[2] or '') .. ' ' .. identity .. '@' .. last_id
local _, count = string.gsub(lives, '@', '@')
while count > LIVES_MAX do
  lives, count = string.gsub(lives, '^ *%w+@%d+%-%d+', ''), count - 1
end
redis.call('HSET', life_key, 'identity', identity, 'lives', lives)
return 1

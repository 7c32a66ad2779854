-- check_life.lua
-- Purpose: say whether what this server holds of a shard was verified since the server started, and
--          whether it lacks an entry that the caller was told of. Asked on each new connection,
--          before a purchase is sent on it, and by the clock; see docs/adr/0016.
-- KEYS[1] life    {sN}:life     hash
-- KEYS[2] intents {sN}:intents  stream
-- ARGV[1] lived  text, the identity of the server that told the caller; empty: none did
-- ARGV[2] told   id of the highest entry that the caller was told of; 0-0: of none
-- Returns: {code, identity, last id}; the identity is the server's run_id
--   1 VERIFIED
--   2 NEW       nobody has verified what this server holds; it has what the caller was told of
--   3 BEHIND    it lacks what the caller was told of
-- Writes: nothing.
-- Invariant: what was told in a life is here if it is not above the id at which the next one began,
--            or if there is no next one, not above the last id; or it was given up since.
-- Complexity: O(lives), which are few; one section of INFO.

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
local lived, told = ARGV[1], parts(ARGV[2])
if not told then return redis.error_reply('ERR check_life: told is no id of an entry') end

local identity = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local last_id = '0-0'
if redis.call('EXISTS', intents_key) == 1 then
  local info = redis.call('XINFO', 'STREAM', intents_key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last_id = info[i + 1] end
  end
end

local life = redis.call('HMGET', life_key, 'identity', 'lives', 'gave_up')
-- Where the life after the caller's began; of a life that nobody remembers, where memory begins.
local bound, found, first
for who, began in string.gmatch(life[2] or '', '(%w+)@(%d+%-%d+)') do
  if not first then first = { who, began } end
  if found then bound, found = began, false end
  if who == lived then bound, found = nil, true end
end
if found == nil and first and first[1] ~= life[3] then bound = first[2] end
if found or not first then bound = last_id end

if bound and above(told, parts(bound)) then return { 3, identity, last_id } end
return { life[1] == identity and 1 or 2, identity, last_id }

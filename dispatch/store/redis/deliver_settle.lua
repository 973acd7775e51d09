-- Settles deliveries of a share, all or nothing: all that may fail comes before the
-- first write, since Redis does not roll back. Each delivery takes some microseconds.
--
-- KEYS: lease, waiting, body, dead, dead:body.
-- ARGV: 1 token   2 cursor expected   3 cursor after
--       4 to 7 how many follow: to park, tried again, done, dead
--       then to park: place, facts, event; tried again: place, facts; done: place;
--       dead: place, facts, event.
-- Answers 1, or 0 where the token or the cursor is another.

local call = redis.call
local lease = call('HMGET', KEYS[1], 'token', 'cursor')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then return 0 end
call('ZCARD', KEYS[2]) -- these for their types
call('HLEN', KEYS[3])
call('ZCARD', KEYS[4])
call('HLEN', KEYS[5])

local function remove(set, place) return call('ZREMRANGEBYLEX', set, '[' .. place .. ' ', '(' .. place .. '!') end

local function add(set, bodies, a)
  if call('HSET', bodies, ARGV[a], ARGV[a + 2]) == 0 then remove(set, ARGV[a]) end
  call('ZADD', set, 0, ARGV[a] .. ' ' .. ARGV[a + 1])
end

local a = 8
for _ = 1, tonumber(ARGV[4]) do
  add(KEYS[2], KEYS[3], a)
  a = a + 3
end
for _ = 1, tonumber(ARGV[5]) do
  if remove(KEYS[2], ARGV[a]) > 0 then call('ZADD', KEYS[2], 0, ARGV[a] .. ' ' .. ARGV[a + 1]) end
  a = a + 2
end
for _ = 1, tonumber(ARGV[6]) do
  remove(KEYS[2], ARGV[a])
  call('HDEL', KEYS[3], ARGV[a])
  a = a + 1
end
for _ = 1, tonumber(ARGV[7]) do
  add(KEYS[4], KEYS[5], a)
  remove(KEYS[2], ARGV[a])
  call('HDEL', KEYS[3], ARGV[a])
  a = a + 3
end
if ARGV[3] ~= ARGV[2] then call('HSET', KEYS[1], 'cursor', ARGV[3]) end
return 1

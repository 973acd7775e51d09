-- Parks dead deliveries again, tried afresh and due at once, and tells who has the
-- lease by changed. Like a token that is never below the clock in microseconds: what
-- Redis lost is never told a second time.
--
-- KEYS: lease, waiting, body, dead, dead:body. ARGV: the time in Unix ms, then places.
-- Answers how many were parked.

local call = redis.call
local changed = tonumber(call('HGET', KEYS[1], 'changed') or 0) + 1
call('ZCARD', KEYS[2]) -- these for their types
call('HLEN', KEYS[3])
call('ZCARD', KEYS[4])
call('HLEN', KEYS[5])
local time = call('TIME')

local parked = 0
for i = 2, #ARGV do
  local place = ARGV[i]
  local dead = call('ZRANGEBYLEX', KEYS[4], '[' .. place .. ' ', '(' .. place .. '!')[1]
  local body = dead and call('HGET', KEYS[5], place)
  if body then
    local contact = string.match(dead, '^%S+ (%S+)')
    call('HSET', KEYS[3], place, body)
    call('ZADD', KEYS[2], 0, table.concat({place, contact, ARGV[1], ARGV[1], '0'}, ' '))
    call('ZREM', KEYS[4], dead)
    call('HDEL', KEYS[5], place)
    parked = parked + 1
  end
end
if parked > 0 then
  changed = math.max(changed, time[1] * 1000000 + time[2])
  call('HSET', KEYS[1], 'changed', string.format('%.0f', changed))
end
return parked

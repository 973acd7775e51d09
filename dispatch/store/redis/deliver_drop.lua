-- Drops deliveries, parked or dead, that are still what the caller read.
--
-- KEYS: waiting or dead, and its events. ARGV: for each its place and its member.
-- Answers how many went.

local call = redis.call
call('HLEN', KEYS[2]) -- for its type
local dropped = 0
for i = 1, #ARGV, 2 do
  if call('ZREM', KEYS[1], ARGV[i + 1]) == 1 then
    call('HDEL', KEYS[2], ARGV[i])
    dropped = dropped + 1
  end
end
return dropped

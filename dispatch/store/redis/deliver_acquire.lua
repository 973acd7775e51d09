-- Takes the lease of a share. A token is never below the clock in microseconds: where
-- Redis lost the newest one, the next is another all the same.
--
-- KEYS: lease, endpoints of the partition.
-- ARGV: owner, for how many ms, cursor of a share that has none, endpoint.
-- Answers {0} where another has it, else {1, token, cursor, changed}.

local call = redis.call
local lease = call('HMGET', KEYS[1], 'owner', 'until', 'token', 'cursor', 'changed')
local listed = call('SISMEMBER', KEYS[2], ARGV[4])
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if lease[1] and lease[1] ~= ARGV[1] and now < tonumber(lease[2]) then return {0} end

local token = string.format('%.0f', math.max(tonumber(lease[3] or 0) + 1, time[1] * 1000000 + time[2]))
local cursor = lease[4] or ARGV[3]
call('HSET', KEYS[1], 'owner', ARGV[1], 'until', string.format('%.0f', now + ARGV[2]), 'token', token, 'cursor', cursor)
if listed == 0 then call('SADD', KEYS[2], ARGV[4]) end
return {1, token, cursor, lease[5] or '0'}

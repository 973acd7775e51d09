-- Extends the lease of a share.
--
-- KEYS: lease. ARGV: token, cursor, for how many ms. Answers changed, or an empty
-- string where the token or the cursor is another.

local lease = redis.call('HMGET', KEYS[1], 'token', 'cursor', 'changed')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then return '' end
local time = redis.call('TIME')
local over = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', over))
return lease[3] or '0'

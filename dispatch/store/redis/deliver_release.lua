-- Gives the lease of a share back, if it still has that token, which is worth nothing
-- then. The cursor stays.
--
-- KEYS: lease. ARGV: token.

if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('HINCRBY', KEYS[1], 'token', 1)
redis.call('HDEL', KEYS[1], 'owner', 'until')
return 1

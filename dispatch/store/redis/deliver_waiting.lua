-- Reads a page of what is parked of a share, for who has its lease.
--
-- KEYS: lease, waiting. ARGV: token, where to begin as ZRANGEBYLEX has it, how many at
-- most. Answers the members, or 0 where the token is another.

if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
return redis.call('ZRANGEBYLEX', KEYS[2], ARGV[2], '+', 'LIMIT', 0, ARGV[3])

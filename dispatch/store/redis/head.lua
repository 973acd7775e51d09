-- Tells how far a partition's stream goes, and the server's clock in the same
-- step: what is appended later has a place at or after it.
--
-- KEYS: state. Answers {seconds, microseconds, last, trimmed}.

local state = redis.call('HMGET', KEYS[1], 'last', 'trimmed')
local time = redis.call('TIME')
return {time[1], time[2], state[1] or '', state[2] or ''}

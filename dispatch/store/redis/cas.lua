-- Sets a contact where it is still what the caller read.
--
-- KEYS: the contact, and the cursors of its partition where they count.
-- ARGV: value expected and value after, each empty for none; time to live in ms, 0
-- for ever; field of the cursor and the cursor expected, empty for none. Answers 1
-- where it was set, else 0, or the cursor where that is another.

if KEYS[2] then
  local stored = redis.call('HGET', KEYS[2], ARGV[4]) or ''
  if stored ~= ARGV[5] then return stored end
end
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
elseif ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1

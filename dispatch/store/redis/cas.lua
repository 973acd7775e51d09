-- Sets a contact where it is still what the caller read.
--
-- KEYS: the contact. ARGV: value expected and value after, each empty for none;
-- time to live in ms, 0 for ever. Answers 1 where it was set, else 0.

if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
elseif ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1

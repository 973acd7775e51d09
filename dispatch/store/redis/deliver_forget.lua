-- Drops from a piece of what is parked or dead the deliveries of events about a
-- contact.
--
-- KEYS: waiting or dead, and its events. ARGV: 1 where to begin, as ZRANGEBYLEX has
-- it, 2 deliveries to look at, 3 how many beginnings of payloads follow for contact
-- events; then these, and then those for all other events. Answers {the last place
-- looked at or empty at the end, dropped}.

local call = redis.call
local members = call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, ARGV[2])
if #members == 0 then return {'', 0} end
local places = {}
for i = 1, #members do places[i] = string.match(members[i], '^%S+') end
local bodies = call('HMGET', KEYS[2], unpack(places))
local split, dropped = 3 + tonumber(ARGV[3]), 0
for i = 1, #members do
  local body = bodies[i] or ''
  local length, at = string.match(body, '^%S+ (%d+) ()')
  local first, last = split + 1, #ARGV
  if length then
    local kind = string.sub(body, at, at + length - 1)
    if kind == 'contact:new' or kind == 'contact:updated' then first, last = 4, split end
    for p = first, last do
      if string.sub(body, at + length, at + length + #ARGV[p] - 1) == ARGV[p] then
        call('ZREM', KEYS[1], members[i])
        call('HDEL', KEYS[2], places[i])
        dropped = dropped + 1
        break
      end
    end
  end
end
return {places[#places], dropped}

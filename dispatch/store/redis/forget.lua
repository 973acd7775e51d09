-- Deletes from a piece of a partition's stream the events about a contact.
--
-- KEYS: events. ARGV: 1 id to begin after, 2 entries to look at, 3 how many
-- beginnings of payloads follow for contact events; then these, and then those
-- for all other events. Answers {id to go on after or empty at the end, deleted}.

local entries = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
local split = 3 + tonumber(ARGV[3])
local doomed = {}
for i = 1, #entries do
  local fields = entries[i][2]
  local kind, payload = fields[4], fields[6]
  local first, last = split + 1, #ARGV
  if kind == 'contact:new' or kind == 'contact:updated' then first, last = 4, split end
  for p = first, last do
    if string.sub(payload, 1, #ARGV[p]) == ARGV[p] then
      doomed[#doomed + 1] = entries[i][1]
      break
    end
  end
end
if #doomed > 0 then redis.call('XDEL', KEYS[1], unpack(doomed)) end
return {#entries > 0 and entries[#entries][1] or '', #doomed}

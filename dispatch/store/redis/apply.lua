-- Applies one batch of one partition, all or nothing: everything is read and
-- compared before the first write, since Redis does not roll back.
--
-- KEYS: cursor, state, events, marks, then the contacts, then for each event the
--       sets it is looked up in, its own first.
-- ARGV: 1 field of the cursor, empty where there is none to compare
--       2 cursor expected, empty for none   3 cursor after
--       4 latest day the caller looked at   5 latest day the batch adds to
--       6 contacts   7 time to live of contacts in ms, 0 for ever
--       8 most events, 9 most bytes of this stream
--       10 three bytes an event: sets, members, flags
--       then for each contact: value expected, value after, each empty for none
--       then for each event: its members, its own first; the expiry of its set
--       where asked for; uid, type and payload of the contact event before it,
--       if any; its own uid, type and payload.
--
-- Answers {0, cursor} where the cursor differs, {1, outcomes} where applied, {2,
-- day} where the store knows a later day than the caller, {3, outcomes} where a
-- contact or what was seen is not what the caller took for granted.

local HINTED_STALE, MUST_MATCH, SEEN, EXPIRES, CONTACT, APPENDS = 1, 2, 4, 8, 16, 32
local FRESH, DUPLICATE, STALE = '0', '1', '2'
local call, byte, has = redis.call, string.byte, bit.band

local heads, contacts = ARGV[10], tonumber(ARGV[6])
local advances = ARGV[1] ~= ''
if advances then
  local stored = call('HGET', KEYS[1], ARGV[1]) or ''
  if stored ~= ARGV[2] then return {0, stored} end
end
local state = call('HMGET', KEYS[2], 'count', 'bytes', 'day')
if tonumber(state[3] or 0) > tonumber(ARGV[4]) then return {2, state[3]} end
local marks, newest = call('LRANGE', KEYS[4], 0, 15), call('LINDEX', KEYS[4], -1)
call('XLEN', KEYS[3]) -- for its type

local k, a = 5, 11
local conflict = false
for i = 1, contacts do
  if (call('GET', KEYS[k]) or '') ~= ARGV[a] then conflict = true end
  k, a = k + 1, a + 2
end

local events = #heads / 3
local outcomes = {}
for e = 1, events do
  local sets, members, flags = byte(heads, e * 3 - 2, e * 3)
  local outcome = FRESH
  if members == 1 then
    for i = k, k + sets - 1 do
      if call('SISMEMBER', KEYS[i], ARGV[a]) == 1 then outcome = DUPLICATE end
    end
  else
    if has(flags, HINTED_STALE) ~= 0 then outcome = STALE end
    for i = k, k + sets - 1 do
      local seen = call('SMISMEMBER', KEYS[i], unpack(ARGV, a, a + members - 1))
      if seen[1] == 1 then
        outcome = DUPLICATE
        break
      end
      for m = 2, members do
        if seen[m] == 1 then outcome = STALE end
      end
    end
  end
  if has(flags, MUST_MATCH) ~= 0 and (outcome == DUPLICATE) ~= (has(flags, SEEN) ~= 0) then conflict = true end
  outcomes[e] = outcome
  k, a = k + sets, a + members + 3
  if has(flags, EXPIRES) ~= 0 then a = a + 1 end
  if has(flags, CONTACT) ~= 0 then a = a + 3 end
end
if conflict then return {3, table.concat(outcomes)} end

k, a = 5, 11
for i = 1, contacts do
  if ARGV[a + 1] == '' then
    call('DEL', KEYS[k])
  elseif ARGV[7] == '0' then
    call('SET', KEYS[k], ARGV[a + 1])
  else
    call('SET', KEYS[k], ARGV[a + 1], 'PX', ARGV[7])
  end
  k, a = k + 1, a + 2
end
local stream = KEYS[3]
local count, bytes, last = tonumber(state[1] or 0), tonumber(state[2] or 0), nil
for e = 1, events do
  local sets, members, flags = byte(heads, e * 3 - 2, e * 3)
  local outcome = outcomes[e]
  local own = a
  a = a + members
  if outcome ~= DUPLICATE and has(flags, APPENDS) == 0 then call('SADD', KEYS[k], ARGV[own]) end
  if has(flags, EXPIRES) ~= 0 then
    if outcome ~= DUPLICATE then call('EXPIREAT', KEYS[k], ARGV[a]) end
    a = a + 1
  end
  if has(flags, CONTACT) ~= 0 then
    if outcome ~= DUPLICATE then
      call('XADD', stream, '*', 'uid', ARGV[a], 'type', ARGV[a + 1], 'payload', ARGV[a + 2])
      count, bytes = count + 1, bytes + #ARGV[a + 2]
    end
    a = a + 3
  end
  if outcome ~= DUPLICATE then
    local payload = ARGV[a + 2]
    if outcome == STALE then payload = string.sub(payload, 1, -2) .. ',"stale":true}' end
    last = call('XADD', stream, '*', 'uid', ARGV[a], 'type', ARGV[a + 1], 'payload', payload)
    count, bytes = count + 1, bytes + #payload
  end
  k, a = k + sets, a + 3
end

if advances then call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
if last then
  local most, mostBytes = tonumber(ARGV[8]), tonumber(ARGV[9])
  local marked, markedBytes = 0, 0
  -- A mark is 'ID COUNT BYTES': up to that id, so much was ever appended.
  if newest then
    local _, c, b = string.match(newest, '^(%S+) (%d+) (%d+)$')
    marked, markedBytes = tonumber(c), tonumber(b)
  end
  if count - marked >= most / 32 or bytes - markedBytes >= mostBytes / 32 then
    call('RPUSH', KEYS[4], string.format('%s %.0f %.0f', last, count, bytes))
  end
  local trimmed
  for i = 1, #marks do
    local id, c, b = string.match(marks[i], '^(%S+) (%d+) (%d+)$')
    if count - tonumber(c) < most and bytes - tonumber(b) < mostBytes then break end
    trimmed = id
    call('LPOP', KEYS[4])
  end
  local set = {'count', string.format('%.0f', count), 'bytes', string.format('%.0f', bytes), 'last', last}
  if tonumber(ARGV[5]) > tonumber(state[3] or 0) then
    set[#set + 1] = 'day'
    set[#set + 1] = ARGV[5]
  end
  if trimmed then
    set[#set + 1] = 'trimmed'
    set[#set + 1] = trimmed
    local ms, seq = string.match(trimmed, '^(%d+)-(%d+)$')
    call('XTRIM', stream, 'MINID', ms .. '-' .. string.format('%.0f', tonumber(seq) + 1))
  end
  call('HSET', KEYS[2], unpack(set))
end
return {1, table.concat(outcomes)}

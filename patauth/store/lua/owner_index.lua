-- Precedes the scripts that write an owner index, after prelude.lua.
--   names, created, expires  the keys of the index: name tag -> entry, entries by creation, entries by expiry

-- Returns the owner index entry of a PAT.
local function entry_of(pat)
  return sub(pat, CREATED, CREATED + 5) .. sub(pat, ID + 4, ID + 15) .. sub(pat, NAME, NAME + 7)
end

-- Returns whether a PAT has a name tag, and is within its retention (ms).
local function taken(names, expires, name, retention)
  local entry = redis.call('HGET', names, name)
  local expiry = entry and redis.call('ZSCORE', expires, entry)
  return expiry and now < expiry + retention
end

-- Removes an entry from an owner index.
local function drop_entry(names, created, expires, entry)
  redis.call('ZREM', created, entry)
  redis.call('ZREM', expires, entry)
  local name = sub(entry, ENTRY_NAME)
  if redis.call('HGET', names, name) == entry then redis.call('HDEL', names, name) end
end

-- Adds an entry to an owner index.
local function add_entry(names, created, expires, entry, expiry)
  redis.call('HSET', names, sub(entry, ENTRY_NAME), entry)
  redis.call('ZADD', created, 0, entry)
  redis.call('ZADD', expires, expiry, entry)
end

-- Lets an owner index live as long as the last PAT in it: until its expiry and the retention (ms) are over.
local function keep_index(names, created, expires, retention)
  local last = tonumber(redis.call('ZRANGE', expires, -1, -1, 'WITHSCORES')[2])
  if not last then return end
  local keys = {names, created, expires}
  for i = 1, 3 do
    if last >= NEVER then
      redis.call('PERSIST', keys[i])
    else
      redis.call('PEXPIRE', keys[i], math.max(1, last + retention - now))
    end
  end
end

-- Precedes the scripts that write an access token and name it (store/scripts.py).
--   index  the tokens of its secret by expiry; nil where the exchange quota bounds their number

local SPARE = 60000 -- ms that an index of tokens may outlive them, and that those which have expired may stay in it

-- Returns how long until one of a secret's tokens ends, ms, if it has as many as it may have; else nil.
local function full(index, most, now)
  if not index or redis.call('ZCARD', index) < most + 0 then return nil end
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
  if redis.call('ZCARD', index) < most + 0 then return nil end
  return redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2] - now
end

-- Writes the record of a token that expires then, ms.
local function write_token(key, token, expiry, index, now)
  redis.call('SET', key, token, 'PX', expiry - now)
  if not index then return end
  redis.call('ZADD', index, expiry, string.sub(key, -32))
  if redis.call('PTTL', index) < expiry - now then
    redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
    redis.call('PEXPIRE', index, expiry - now + SPARE)
  end
end

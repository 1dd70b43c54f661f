-- Precedes the scripts that only read what a credential is worth, after prelude.lua. A write that changes nothing: a
-- replica refuses it, and so does a primary that has lost its replicas or its cluster. Such a server does not know
-- what has ended elsewhere. DEL works even when the memory is full, and of a key that is not there is not replicated.
--   KEYS[…]  last of all, a key that is never there; the script after this one does not see it
redis.call('DEL', table.remove(KEYS))

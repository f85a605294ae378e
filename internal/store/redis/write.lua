-- Changes a device, if the owner still has it at the epoch.
-- KEYS: the device's hash, its queue.
-- ARGV: owner; epoch; number of the write; what else: 'drop' first removes all but the values, 'release' the received identifiers; 'end' behind the
-- changes ends the claim if no values are left. Then how many of the following are names of the hash to remove; names of the queue to remove; names and values of the queue to set.
-- What remains are names and values of the hash to set.
-- Returns 0, or 1 if the claim has ended, or {epoch, owner} of the one who has the device.
local f = redis.call('HMGET', KEYS[1], 'e', 'o', 'w')
if f[2] ~= ARGV[1] or f[1] ~= ARGV[2] then return {f[1] or '0', f[2] or ''} end
if tonumber(f[3]) > tonumber(ARGV[3]) then return 0 end -- a later one was made: this one comes late, and was repeated
local drop = string.find(ARGV[4], 'drop', 1, true)
if drop then redis.call('DEL', KEYS[2]) end
if drop or string.find(ARGV[4], 'release', 1, true) then
	for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
		local kind = string.sub(name, 1, 2)
		if kind == 'i/' or drop and (kind == 'r' or kind == 'f/' or kind == 'h/') then redis.call('HDEL', KEYS[1], name) end
	end
end
local at = 8
local function change(command, key, length)
	if length > 0 then redis.call(command, key, unpack(ARGV, at, at + length - 1)) end
	at = at + length
end
change('HDEL', KEYS[1], tonumber(ARGV[5]))
change('HDEL', KEYS[2], tonumber(ARGV[6]))
change('HSET', KEYS[2], tonumber(ARGV[7]))
change('HSET', KEYS[1], #ARGV - at + 1)
if string.find(ARGV[4], 'end', 1, true) and redis.call('HLEN', KEYS[1]) == 3 then
	redis.call('DEL', KEYS[1])
	return 1
end
return 0

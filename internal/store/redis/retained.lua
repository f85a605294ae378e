-- Writes changes of retained messages into the hash of all, the hash of large ones, the log, and the set of those that expire; see retained_entry.go.
-- KEYS: these four. ARGV: how many entries the log has at most, a place that is known to be in it, the time in ms, and ten for each change:
-- topic, origin, number, place, only, expiry, size, record, body, at.
-- Returns the place of each change, 0 if it has none because the topic has a later one.
local all, large, log, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
last = last and tonumber(string.match(last[1], '^%d+')) or 0
local least = tonumber(ARGV[2])
local function text(n) return string.format('%.0f', n) end
local function starts(v) return tonumber(string.match(v or '', '^%d+') or 0) end

local places = {}
for i = 4, #ARGV, 10 do
	local topic, place, only, size, record, body = ARGV[i], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 6], ARGV[i + 7], ARGV[i + 8]
	local v = redis.call('HGET', all, topic)
	local counts = true
	if place > 0 then
		counts = starts(v) < place
		if counts and size ~= '0' and body == '' then counts = starts(redis.call('HGET', large, topic)) == place end
	elseif only > 0 then
		counts = starts(v) == only
	end
	if counts then
		local id = math.max(last + 1, least + 1, now)
		local p = ARGV[i + 3]
		if place == 0 then p = text(id) end
		if record == '' then
			redis.call('HSET', all, topic, p)
		else
			redis.call('HSET', all, topic, p .. ' ' .. ARGV[i + 5] .. ' ' .. size .. ' ' .. record)
		end
		if size == '0' then
			redis.call('HDEL', large, topic)
		elseif body ~= '' then
			redis.call('HSET', large, topic, p .. ' ' .. body)
		end
		if ARGV[i + 5] == '0' then
			redis.call('ZREM', due, topic)
		else
			redis.call('ZADD', due, ARGV[i + 5], topic)
		end
		redis.call('XADD', log, text(id) .. '-0', 'b', text(last), 't', topic, 'o', ARGV[i + 1], 'n', ARGV[i + 2], 'p', p,
			'e', ARGV[i + 5], 's', size, 'r', record, 'a', ARGV[i + 9])
		last = id
		places[#places + 1] = p
	else
		places[#places + 1] = '0'
	end
end

-- The oldest entries leave the log, and with those of removals what the hash has of them. A few are enough: as many come.
local length = redis.call('XLEN', log)
local over = math.min(length - tonumber(ARGV[1]), 2 * #places + 16)
if over > 0 then
	for _, e in ipairs(redis.call('XRANGE', log, '-', '+', 'COUNT', over)) do
		local f = e[2]
		if f[16] == '' and redis.call('HGET', all, f[4]) == f[10] then redis.call('HDEL', all, f[4]) end
	end
	redis.call('XTRIM', log, 'MAXLEN', length - over)
end

for _, topic in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', ARGV[3], 'LIMIT', 0, 16)) do
	redis.call('HDEL', all, topic)
	redis.call('HDEL', large, topic)
	redis.call('ZREM', due, topic)
end
return places

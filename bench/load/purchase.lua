-- Each request is the purchase of another buyer: one Authorization (or X-Buyer) line a buyer, in
-- turn, and an Idempotency-Key that is never repeated.
-- Arguments: path, file of header lines, body, prefix of the keys, further header lines.

local heads, tail, prefix = {}, nil, nil
local count, sent = 0, 0

function init(args)
  local path, file, body = args[1], args[2], args[3]
  prefix = args[4]
  for line in io.lines(file) do
    count = count + 1
    heads[count] = 'POST ' .. path .. ' HTTP/1.1\r\nHost: 127.0.0.1\r\n'
      .. 'Content-Type: application/json\r\n' .. line .. '\r\nIdempotency-Key: '
  end
  tail = (args[5] or '') .. '\r\nContent-Length: ' .. #body .. '\r\n\r\n' .. body
end

function request()
  sent = sent + 1
  return heads[(sent - 1) % count + 1] .. prefix .. sent .. tail
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'SUMMARY {"duration_us": %d, "requests": %d, "bytes": %d, "connect": %d, "read": %d, '
      .. '"write": %d, "timeout": %d, "status": %d, "p50_us": %d, "p99_us": %d, "max_us": %d}\n',
    summary.duration, summary.requests, summary.bytes, errors.connect, errors.read,
    errors.write, errors.timeout, errors.status, latency:percentile(50), latency:percentile(99),
    latency.max))
end

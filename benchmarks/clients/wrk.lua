-- Posts the content of one file, always the same, and ends with a line of JSON.
function init(arguments)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  local file = assert(io.open(arguments[1], "rb"))
  wrk.body = file:read("*a")
  file:close()
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('{"delivered": %d, "failed": %d, "seconds": %.6f}\n',
    summary.requests - errors.status, failed, summary.duration / 1e6))
end

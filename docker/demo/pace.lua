-- The pause of wrk before each request, in milliseconds; the argument after the URL.
local pause = 15

function init(arguments)
  pause = tonumber(arguments[1]) or pause
end

function delay()
  return pause
end

// A service in Node.js, without a package: it adds numbers.
//
//     node service.js http://127.0.0.1:8081/v1/services/sums
const url = process.argv[2]
const answer = (call, body, headers) =>
  fetch(`${url}/answers/${call.id}`, { method: 'POST', body, headers: { 'Content-Type': 'application/json', ...headers } })

async function serve() {
  let text = ''
  for await (const chunk of (await fetch(url)).body.pipeThrough(new TextDecoderStream())) {
    const lines = (text + chunk).split('\n')
    text = lines.pop()
    for (const line of lines) if (line.startsWith('data: ')) await handle(JSON.parse(line.slice(6)))
  }
}

async function handle(call) {
  if (call.method === 'add') await answer(call, JSON.stringify(call.payload.reduce((a, b) => a + b)))
  else if (call.method) await answer(call, 'this service only adds', { 'Longline-Error': 'unknown_method' })
}

serve()

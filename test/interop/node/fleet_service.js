// An instance of a service in Node.js, for the test of a mixed fleet. It needs no package.
//
//     node fleet_service.js NAME
//
// It prints the port on which it listens, and then each call, before it answers: {"device":...,"method":...,"n":...}.
import { createServer } from 'node:http';

const instance = process.argv[2];

createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const asked = JSON.parse(body);
  const method = request.url.slice(1);
  const device = request.headers['longline-device'];
  const n = asked.n ?? +asked.data;
  console.log(JSON.stringify({ device, method, n }));
  let answer = { device, method, n, instance };
  if (method === 'DataTransfer') answer = { status: 'Accepted', data: JSON.stringify(answer) };
  response.setHeader('Content-Type', 'application/json').end(JSON.stringify(answer));
}).listen(0, '127.0.0.1', function () { console.log(this.address().port); });

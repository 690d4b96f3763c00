/** A V2 model server that answers after a fixed time and counts: the load's other end, in a process of its own. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const delayMs = Number(process.argv[2] ?? '1')

/** Calls begun per prediction id, and those open now. */
const calls = new Map<string, number>()
let total = 0
let answered = 0
let lastAt = 0

const answer = JSON.stringify({ model_name: 'bench', outputs: [{ label: 'setosa', score: 0.98 }] })

const server = createServer((request, response) => {
  if (request.url === '/stats') {
    let repeated = 0
    for (const count of calls.values()) if (count > 1) repeated++
    response.end(JSON.stringify({ total, answered, distinct: calls.size, repeated, lastAt }))
    return
  }
  if (request.url === '/reset') {
    calls.clear()
    total = 0
    answered = 0
    response.end('{}')
    return
  }
  const id = request.headers['idempotency-key']
  total++
  lastAt = Date.now()
  if (typeof id === 'string') calls.set(id, (calls.get(id) ?? 0) + 1)
  request.resume()
  request.on('end', () => {
    setTimeout(() => {
      answered++
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(answer)
    }, delayMs)
  })
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }))
})

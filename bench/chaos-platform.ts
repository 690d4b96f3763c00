/**
 * The platform of the chaos run: a V2 model server that answers after the time the request names, echoes its inputs,
 * and notes for each prediction how many of its calls were alive at once. A process of its own.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

interface Calls {
  begun: number
  answered: number
  alive: number
  /** Most calls alive at once. */
  most: number
}

const byId = new Map<string, Calls>()

const server = createServer((request, response) => {
  if (request.url === '/stats') {
    response.end(JSON.stringify(stats()))
    return
  }
  const id = String(request.headers['idempotency-key'])
  const calls = byId.get(id) ?? { begun: 0, answered: 0, alive: 0, most: 0 }
  byId.set(id, calls)
  calls.begun++
  calls.alive++
  calls.most = Math.max(calls.most, calls.alive)
  // A killed caller's connection closes at once: its call is not alive any more.
  response.once('close', () => {
    calls.alive--
  })
  let text = ''
  request.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  request.on('end', () => {
    const { inputs, delayMs } = JSON.parse(text) as { inputs: unknown; delayMs: number }
    setTimeout(() => {
      if (response.destroyed) return
      calls.answered++
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ model_name: 'chaos', outputs: inputs }))
    }, delayMs)
  })
})

function stats() {
  const all = [...byId]
  return {
    predictions: all.length,
    calls: all.reduce((sum, [, { begun }]) => sum + begun, 0),
    calledAgain: all.filter(([, { begun }]) => begun > 1).length,
    overlapping: all.filter(([, { most }]) => most > 1).map(([id]) => id),
    answered: all.filter(([, { answered }]) => answered > 0).map(([id]) => id),
  }
}

server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }))
})

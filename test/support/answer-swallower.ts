/** Stands between a store and its PostgreSQL server: lets everything through but, while told so, answers to a COMMIT. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export interface AnswerSwallower {
  /** Of the same database, through here. */
  connectionString: string
  /** From now on the server gets each COMMIT, and nobody hears of it. */
  swallow(): void
  /** How many COMMITs were passed on without their answers. */
  swallowed(): number
  /** Answers again, on new connections. */
  heal(): void
}

/** Name under which the store prepares the statement, as it stands in the protocol's messages. */
const commitName = Buffer.from('commit\0')

export async function startAnswerSwallower(target: string): Promise<AnswerSwallower> {
  const url = new URL(target)
  const there = { port: Number(url.port), host: url.hostname }
  const muted = new Set<Socket>()
  const sockets = new Set<Socket>()
  let isSwallowing = false
  let swallowed = 0

  const server = createServer((client) => {
    const upstream = connect(there)
    let isMuted = false
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', (chunk) => {
      if (isSwallowing && !isMuted && chunk.includes(commitName)) {
        isMuted = true
        muted.add(client)
        swallowed++
      }
      upstream.write(chunk)
    })
    upstream.on('data', (chunk) => {
      if (!isMuted) client.write(chunk)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })

  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port)
  return {
    connectionString: url.href,
    swallow() {
      isSwallowing = true
    },
    swallowed: () => swallowed,
    heal() {
      isSwallowing = false
      for (const socket of muted) socket.destroy()
    },
  }
}

/** Ports on the loopback interface: finds free ones and says whether one is taken. */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

export const loopback = '127.0.0.1'

/** As many different ports as asked for, free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => listening(0)))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map(closed))
  return ports
}

/**
 * Free ports for servers that are killed and started again on the same ones: below those that the system hands out,
 * so that no connection takes one in the meantime.
 */
export async function lastingPorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = randomInt(12_000, 32_000)
    if (await isFree(port)) ports.add(port)
  }
  return [...ports]
}

export async function isFree(port: number): Promise<boolean> {
  try {
    await closed(await listening(port))
    return true
  } catch {
    return false
  }
}

async function listening(port: number) {
  const server = createServer()
  server.listen(port, loopback)
  await once(server, 'listening')
  return server
}

async function closed(server: ReturnType<typeof createServer>): Promise<void> {
  server.close()
  await once(server, 'close')
}

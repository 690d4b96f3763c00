/** A registry of one tiny image, on loopback: enough of the distribution API for an engine to pull it, as slowly as told. */
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

export interface TinyRegistry {
  /** `127.0.0.1:<port>/tiny`. */
  repository: string
  /** `…:1`. */
  image: string
  /** Digest of the image's manifest. */
  digest: string
  readonly requests: number
  close(): Promise<void>
}

const manifestType = 'application/vnd.docker.distribution.manifest.v2+json'

/**
 * `delayMs`: before each blob; `busy`: so many times it is first; `lostBlobs`: it has the manifest alone.
 * Source: https://distribution.github.io/distribution/spec/api/
 */
export async function startTinyRegistry({
  delayMs = 0,
  busy = 0,
  lostBlobs = false,
}: {
  delayMs?: number
  busy?: number
  lostBlobs?: boolean
} = {}): Promise<TinyRegistry> {
  const layer = tarOf('hello.txt', `hello ${Math.random()}\n`)
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: [sha256(layer)] },
      history: [{ created_by: 'test' }],
    }),
  )
  const part = (mediaType: string, bytes: Buffer) => ({
    mediaType,
    size: bytes.length,
    digest: sha256(bytes),
  })
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: part('application/vnd.docker.container.image.v1+json', config),
      layers: [part('application/vnd.docker.image.rootfs.diff.tar', layer)],
    }),
  )
  const digest = sha256(manifest)
  const blobs = new Map([layer, config].map((bytes) => [sha256(bytes), bytes]))
  const sockets = new Set<Socket>()
  let requests = 0

  const server = createServer((request, response) => {
    const path = request.url ?? ''
    const send = (status: number, bytes: Buffer, type: string) => {
      response.writeHead(status, {
        'content-type': type,
        'content-length': bytes.length,
        'docker-content-digest': sha256(bytes),
      })
      response.end(request.method === 'HEAD' ? undefined : bytes)
    }
    if (path === '/v2/') return send(200, Buffer.from('{}'), 'application/json')
    if (path === '/v2/tiny/manifests/1' || path === `/v2/tiny/manifests/${digest}`) {
      if (requests++ < busy) return send(503, Buffer.from('busy'), 'text/plain')
      return send(200, manifest, manifestType)
    }
    const blob = blobs.get(path.replace('/v2/tiny/blobs/', ''))
    if (blob !== undefined && !lostBlobs) {
      requests++
      const timer = setTimeout(() => send(200, blob, 'application/octet-stream'), delayMs)
      response.on('close', () => clearTimeout(timer))
      return
    }
    send(
      404,
      Buffer.from('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'),
      'application/json',
    )
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const repository = `127.0.0.1:${port}/tiny`
  return {
    repository,
    image: `${repository}:1`,
    digest,
    get requests() {
      return requests
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** A tar archive of one file (POSIX ustar). */
function tarOf(name: string, text: string): Buffer {
  const head = Buffer.alloc(512)
  const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, '0')}\0`
  head.write(name, 0)
  head.write(octal(0o644, 8), 100)
  head.write(octal(0, 8), 108)
  head.write(octal(0, 8), 116)
  head.write(octal(Buffer.byteLength(text), 12), 124)
  head.write(octal(0, 12), 136)
  head.write(' '.repeat(8), 148)
  head.write('0', 156)
  head.write('ustar\x0000', 257)
  const sum = head.reduce((total, byte) => total + byte, 0)
  head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  const body = Buffer.alloc(Math.ceil(text.length / 512) * 512)
  body.write(text)
  return Buffer.concat([head, body, Buffer.alloc(1024)])
}

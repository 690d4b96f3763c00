/** `/files/<name>`: stored files with ranges. Names are unguessable; whoever has one may read the file. */
import { Readable } from 'node:stream'
import { getMimeType } from 'hono/utils/mime'
import { ServiceError } from '../contracts/errors.ts'
import { type ByteRange, isFileName } from './files.ts'
import {
  jsonText,
  observed,
  type RecordServiceApp,
  type RecordServiceContext,
  type RecordServiceDeps,
  type RecordServiceSettings,
} from './service.ts'

export function mountDownloadRoutes(
  app: RecordServiceApp,
  { bytes }: RecordServiceDeps,
  settings: RecordServiceSettings,
): void {
  const download = async (c: RecordServiceContext) => {
    const name = c.req.param('name') ?? ''
    const file = isFileName(name) ? await bytes.look(name) : undefined
    if (file === undefined) throw new ServiceError('not_found', 'file not found')
    const etag = `"${name}"`
    const headers = new Headers({
      'content-type': getMimeType(name) ?? 'application/octet-stream',
      'accept-ranges': 'bytes',
      etag,
      'last-modified': file.modifiedAt.toUTCString(),
      'cache-control': 'private, max-age=3600',
      // What a model wrote may be HTML: no browser shall run it under this address.
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; sandbox",
    })
    if (c.req.header('if-none-match') === etag) return new Response(null, { status: 304, headers })

    const asked = c.req.header('if-range') ?? etag
    const range = asked === etag ? rangeOf(c.req.header('range'), file.size) : 'whole'
    if (range === 'unsatisfiable') {
      const error = '{"error":"the range lies outside the file","code":"invalid_input"}'
      return jsonText(error, 416, { 'content-range': `bytes */${file.size}` })
    }
    const part = range === 'whole' ? undefined : range
    if (part) headers.set('content-range', `bytes ${part.first}-${part.last}/${file.size}`)
    headers.set('content-length', String(part ? part.last - part.first + 1 : file.size))
    const status = part ? 206 : 200
    if (c.req.method === 'HEAD') return new Response(null, { status, headers })
    return new Response(Readable.toWeb(await bytes.read(name, part)) as ReadableStream, { status, headers })
  }
  app.get('/files/:name', observed(settings, '/files/:name', download))
}

/** RFC 9110, 14.1.2. Several ranges and what cannot be understood are answered with the whole file, as it allows. */
export function rangeOf(header: string | undefined, size: number): ByteRange | 'whole' | 'unsatisfiable' {
  const [, from = '', to = ''] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? []
  if (from === '' && to === '') return 'whole'
  if (from === '') {
    const length = Math.min(Number(to), size)
    return length === 0 ? 'unsatisfiable' : { first: size - length, last: size - 1 }
  }
  const first = Number(from)
  if (to !== '' && Number(to) < first) return 'whole'
  if (first >= size) return 'unsatisfiable'
  return { first, last: to === '' ? size - 1 : Math.min(Number(to), size - 1) }
}

/** `/upload`, `/upload_batch` and `/u/<token>/…`: files that models send while they predict, and workers after it. */
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { ServiceError } from '../contracts/errors.ts'
import { expireFiles } from './files.ts'
import {
  checkKey,
  jsonText,
  observed,
  type RecordServiceApp,
  type RecordServiceContext,
  type RecordServiceDeps,
  type RecordServiceSettings,
} from './service.ts'
import { copyHeader } from './upload-tokens.ts'
import { storeUploads } from './uploads.ts'

const largestBatch = 1_000
/** Shorter than any file format's magic number: the predecessor's limit. */
const smallestFileBytes = 8

export function mountUploadRoutes(
  app: RecordServiceApp,
  deps: RecordServiceDeps,
  settings: RecordServiceSettings,
): void {
  const { apiKey, maxFileBytes, retentionMs, baseUrl } = settings
  async function receive(
    c: RecordServiceContext,
    predictionId: string,
    fields: readonly string[],
  ): Promise<string[]> {
    const body = c.req.raw.body
    if (body === null) throw new ServiceError('invalid_input', 'the request has no body')
    const content = Readable.fromWeb(body as ReadableStream)
    // The predecessor's limit is for models: a copy is as short as what it copies.
    const leastFileBytes = c.req.header(copyHeader) === undefined ? smallestFileBytes : 0
    const rules = { fields, maxFileBytes, leastFileBytes, predictionId }
    const names = await storeUploads(deps, c.req.header('content-type'), content, rules)
    const base = baseUrl?.() ?? new URL(c.req.url).origin
    return names.map((name) => `${base}/files/${name}`)
  }

  async function one(c: RecordServiceContext, predictionId: string): Promise<Response> {
    const [url] = await receive(c, predictionId, ['file'])
    return jsonText(JSON.stringify({ url }))
  }

  async function batch(c: RecordServiceContext, predictionId: string): Promise<Response> {
    const count = countOf(c.req.header('num_files'))
    const fields = Array.from({ length: count }, (_, n) => `file_${n}`)
    return jsonText(JSON.stringify({ urls: await receive(c, predictionId, fields) }))
  }

  /** The model-side library sends no key: the path says for which prediction it may upload. */
  function predictionOf(c: RecordServiceContext): string {
    const verified = deps.tokens.verify(c.req.param('token') ?? '')
    if (verified === undefined) {
      throw new ServiceError('unauthorized', 'the upload address is not valid or has expired')
    }
    return verified.predictionId
  }

  function ofNobody(c: RecordServiceContext): string {
    checkKey(c, apiKey)
    return ''
  }

  for (const [path, ownerOf, receiver] of [
    ['/upload', ofNobody, one],
    ['/upload_batch', ofNobody, batch],
    ['/u/:token/upload', predictionOf, one],
    ['/u/:token/upload_batch', predictionOf, batch],
  ] as const) {
    app.post(
      path,
      observed(settings, path, async (c) => receiver(c, ownerOf(c))),
    )
  }

  // No worker can reach the files themselves. What is due is decided here, so that asking harms nothing.
  app.post(
    '/u/:token/expire',
    observed(settings, '/u/:token/expire', async (c) => {
      predictionOf(c)
      const expired = await expireFiles(deps.store, deps.bytes, retentionMs)
      return jsonText(JSON.stringify({ expired }))
    }),
  )
}

function countOf(header: string | undefined): number {
  const count = /^\d{1,6}$/.test(header ?? '') ? Number(header) : 0
  if (count < 1 || count > largestBatch) {
    throw new ServiceError('invalid_input', `the header NUM_FILES must be between 1 and ${largestBatch}`)
  }
  return count
}

/** Multipart uploads, streamed part by part to storage with bounded memory. Owns limits; names come from files.ts. */
import { pipeline, type Readable, Transform } from 'node:stream'
import { Busboy, type BusboyInstance } from '@fastify/busboy'
import { ServiceError } from '../contracts/errors.ts'
import { type FileBytes, newFileName } from './files.ts'
import type { Store } from './store.ts'

export interface UploadRules {
  /** Fields that must come, each a file; the answer keeps their order. */
  fields: readonly string[]
  maxFileBytes: number
  leastFileBytes: number
  /** Of the prediction it belongs to; may be empty. */
  predictionId: string
}

/** The stored names in the order of `fields`. When it throws, none of them is kept. */
export async function storeUploads(
  { store, bytes }: { store: Store; bytes: FileBytes },
  contentType: string | undefined,
  body: Readable,
  { fields, maxFileBytes, leastFileBytes, predictionId }: UploadRules,
): Promise<string[]> {
  const parser = parserFor(contentType, fields.length)
  const names = new Map<string, string>()
  const writes: Promise<void>[] = []
  const contents: Readable[] = []
  const { promise: failed, reject: fail } = Promise.withResolvers<never>()

  parser.on('file', (field, content, sentName) => {
    if (!fields.includes(field) || names.has(field)) {
      content.resume()
      return
    }
    const name = newFileName(sentName ?? '')
    names.set(field, name)
    contents.push(content)
    const checked = withinSize(maxFileBytes, leastFileBytes)
    // Joined at once: an error of the form must always find a listener.
    pipeline(content, checked, () => undefined)
    const writing = keep(name, checked)
    writes.push(writing)
    // A file that cannot be kept ends the upload now instead of after its last byte.
    writing.catch(fail)
  })

  async function keep(name: string, content: Readable): Promise<void> {
    await store.addFile(name, predictionId)
    await bytes.put(name, content)
  }

  try {
    await Promise.race([formEnd(body, parser), failed])
    await Promise.all(writes)
    return fields.map((field) => names.get(field) ?? missing(field))
  } catch (error) {
    body.unpipe(parser)
    for (const content of contents) content.destroy()
    await Promise.allSettled(writes)
    await bytes.remove([...names.values()])
    await store.forgetFiles([...names.values()])
    throw asUploadError(error)
  }
}

function parserFor(contentType: string | undefined, files: number): BusboyInstance {
  try {
    return new Busboy({
      headers: { 'content-type': contentType ?? '' },
      limits: { fields: 100, fieldSize: 64 * 1024, files: files + 10, headerPairs: 100 },
    })
  } catch (cause) {
    throw new ServiceError('invalid_input', 'the request must be multipart/form-data', { cause })
  }
}

/** Passes content on and fails when there is too much, or in the end too little of it. */
export function withinSize(maxBytes: number, leastBytes = 0): Transform {
  let seen = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seen += chunk.length
      if (seen > maxBytes) {
        done(new ServiceError('payload_too_large', `the file is larger than ${maxBytes} bytes`))
      } else done(null, chunk)
    },
    flush(done) {
      if (seen >= leastBytes) done()
      else done(new ServiceError('invalid_input', `the file is smaller than ${leastBytes} bytes`))
    },
  })
}

function formEnd(body: Readable, parser: BusboyInstance): Promise<void> {
  return new Promise((resolve, reject) => {
    parser.on('finish', resolve)
    parser.on('error', reject)
    body.on('error', reject)
    body.on('close', () => {
      if (!body.readableEnded) reject(new ServiceError('invalid_input', 'the upload ended early'))
    })
    body.pipe(parser)
  })
}

function missing(field: string): never {
  throw new ServiceError('invalid_input', `the form has no file in the field ${field}`)
}

/** Storage that fails has its own errors; whatever else went wrong is the form's fault. */
function asUploadError(error: unknown): unknown {
  const isOurs = error instanceof ServiceError || (error instanceof Error && 'code' in error)
  return isOurs
    ? error
    : new ServiceError('invalid_input', 'the multipart form cannot be read', { cause: error })
}

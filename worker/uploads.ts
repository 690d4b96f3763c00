/** Files of predictions as a worker keeps them: sent to the record service. It holds none itself, and can read none. */
import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { type Dispatcher, request } from 'undici'
import { codeOf, ServiceError } from '../contracts/errors.ts'
import type { Store } from '../records/store.ts'
import { copyHeader, makeUploadTokens } from '../records/upload-tokens.ts'

export interface UploadsOptions {
  store: Pick<Store, 'oldFiles'>
  /** Of an API or a record service. */
  url: () => string
  /** `SECRET_APIKEY`, which signs what both sides accept. */
  secret: string
}

export interface Uploads {
  /** Keeps the content as a file of the prediction, with the extension of `name`; the address that it is given there. */
  keep(predictionId: string, name: string, content: Readable, signal: AbortSignal): Promise<string>
  /** Has files deleted that are older and whose prediction is gone. */
  expire(retentionMs: number): Promise<void>
}

/** Longer than sending a file may take. */
const tokenMs = 3_600_000

export function makeUploads({ store, url, secret }: UploadsOptions): Uploads {
  const tokens = makeUploadTokens(secret)

  async function post(owner: string, path: string, more: Partial<Dispatcher.RequestOptions> = {}) {
    const at = `${url()}/u/${tokens.issue(owner, tokenMs)}/${path}`
    const { statusCode, body } = await request(at, { ...more, method: 'POST' })
    const text = await body.text()
    if (statusCode === 200) return JSON.parse(text)
    const message = `the record service at PERDURE_URL answered ${statusCode}: ${text.slice(0, 200)}`
    const passes = statusCode >= 500 || statusCode === 429
    throw new ServiceError(passes ? 'store_unavailable' : 'invalid_input', message)
  }

  return {
    async keep(predictionId, name, content, signal) {
      const boundary = randomUUID()
      const headers = { [copyHeader]: 'yes', 'content-type': `multipart/form-data; boundary=${boundary}` }
      const body = Readable.from(formOf(content, boundary, name), { objectMode: false })
      try {
        const { url: kept }: { url: string } = await post(predictionId, 'upload', { headers, body, signal })
        return kept
      } catch (error) {
        if (content.errored || signal.aborted || codeOf(error) !== 'internal') throw content.errored ?? error
        const message = 'the record service at PERDURE_URL cannot be reached'
        throw new ServiceError('store_unavailable', message, { cause: error })
      }
    },

    async expire(retentionMs) {
      // Most deployments keep no files: nobody is asked for nothing.
      while ((await store.oldFiles(retentionMs, 1)).length > 0) {
        const { expired }: { expired: number } = await post('expiry', 'expire')
        // Kept longer there.
        if (expired === 0) return
      }
    },
  }
}

/** A form of one field `file` (RFC 7578), written while its content arrives. */
async function* formOf(content: Readable, boundary: string, name: string): AsyncGenerator<string | Buffer> {
  yield `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="${name}"\r\n\r\n`
  yield* content
  yield `\r\n--${boundary}--\r\n`
}

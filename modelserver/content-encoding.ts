/** Unpacks compressed request bodies, never beyond the server's limit. Answers are not compressed: proxies do that. */

import { promisify } from 'node:util'
import { brotliDecompress, inflate, unzip, zstdDecompress } from 'node:zlib'
import { HttpError } from './errors.ts'
import { tooLarge } from './fetch.ts'
import type { Incoming } from './incoming.ts'
import { header } from './messages/headers.ts'

const unpackers = {
  gzip: promisify(unzip),
  'x-gzip': promisify(unzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
  zstd: promisify(zstdDecompress),
}

/** Whether the body has to be unpacked before anything reads it. */
export function isPacked(incoming: Incoming): boolean {
  const encoding = incoming.headers['content-encoding']
  return encoding !== undefined && encoding !== 'identity' && incoming.body !== undefined
}

/** The request with its plain body; or with a fault: 415 unknown encoding, 413 too large, 400 broken. */
export async function unpacked(incoming: Incoming, maxBodyBytes: number): Promise<Incoming> {
  const { body, headers } = incoming
  const encoding = header(headers, 'content-encoding')?.trim().toLowerCase() ?? ''
  if (body === undefined) return incoming
  if (!isKnown(encoding))
    return { ...incoming, fault: new HttpError(415, `unknown content encoding ${encoding}`) }
  try {
    return { ...incoming, body: await unpackers[encoding](body, { maxOutputLength: maxBodyBytes }) }
  } catch (error) {
    const large = error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE'
    const fault = large
      ? tooLarge(maxBodyBytes)
      : new HttpError(400, `the body is no ${encoding}`, { cause: error })
    return { ...incoming, fault }
  }
}

function isKnown(encoding: string): encoding is keyof typeof unpackers {
  return Object.hasOwn(unpackers, encoding)
}

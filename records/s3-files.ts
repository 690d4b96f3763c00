/** Uploaded files in an S3 bucket, AWS's or a compatible one. Streams both ways; an object is there as a whole or not. */
import type { Readable } from 'node:stream'
import { DeleteObjectCommand, GetObjectCommand, HeadObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { getMimeType } from 'hono/utils/mime'
import { ServiceError } from '../contracts/errors.ts'
import { checkedName, type FileBytes } from './files.ts'

export interface S3Settings {
  bucket: string
  region: string
  /** Put before every name. */
  prefix: string
  /** Of a compatible service; without it AWS. */
  endpoint?: string
  /** Without them the SDK's own chain: environment, profile, instance. */
  credentials?: { accessKeyId: string; secretAccessKey: string }
}

/** Two parts of this size are in memory per upload. */
const partBytes = 8 * 1024 * 1024
const partsAtOnce = 2
const removesAtOnce = 16

export function makeS3Files({
  bucket,
  prefix,
  endpoint,
  ...rest
}: S3Settings): FileBytes & { close(): void } {
  const client = new S3Client({
    ...rest,
    // Compatible services seldom have a host name per bucket.
    ...(endpoint !== undefined && { endpoint, forcePathStyle: true }),
  })
  const at = (name: string) => ({ Bucket: bucket, Key: prefix + checkedName(name) })

  return {
    async put(name, content) {
      const params = {
        ...at(name),
        Body: content,
        ContentType: getMimeType(name) ?? 'application/octet-stream',
      }
      // A part that fails takes the others with it: nothing is left that would be paid for.
      const upload = new Upload({ client, params, partSize: partBytes, queueSize: partsAtOnce })
      await answered(upload.done())
    },

    async look(name) {
      try {
        const { ContentLength = 0, LastModified = new Date(0) } = await client.send(
          new HeadObjectCommand(at(name)),
        )
        return { size: ContentLength, modifiedAt: LastModified }
      } catch (error) {
        if (error instanceof Error && /^(NotFound|NoSuchKey)$/.test(error.name)) return undefined
        throw away(error)
      }
    },

    async read(name, range) {
      const wanted = range && { Range: `bytes=${range.first}-${range.last}` }
      const { Body } = await answered(client.send(new GetObjectCommand({ ...at(name), ...wanted })))
      // Under Node the SDK answers with Node's stream.
      return Body as Readable
    },

    async remove(names) {
      for (let first = 0; first < names.length; first += removesAtOnce) {
        const some = names.slice(first, first + removesAtOnce)
        await answered(Promise.all(some.map((name) => client.send(new DeleteObjectCommand(at(name))))))
      }
    },

    close: () => client.destroy(),
  }
}

async function answered<T>(request: Promise<T>): Promise<T> {
  try {
    return await request
  } catch (error) {
    throw away(error)
  }
}

/** What the content itself was refused for passes; the service's own words stay in the cause. */
function away(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error
  return new ServiceError('store_unavailable', 'The file storage cannot be reached now', { cause: error })
}

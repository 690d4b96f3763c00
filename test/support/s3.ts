/** A real S3-compatible server over a temporary folder, on a free port of this machine. */

import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CreateBucketCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3'
import { onTestFinished, vi } from 'vitest'
import { freePorts } from '../../dev/free-ports.ts'
import { makeS3Files, type S3Settings } from '../../records/s3-files.ts'
import { s3Server } from '../../scripts/s3.mjs'
import { requirement } from './require.ts'

export const s3 = requirement(
  's3',
  () => s3Server() !== undefined || 'no S3 server built (node scripts/s3.mjs)',
)

export interface Bucket {
  settings: S3Settings
  bytes: ReturnType<typeof makeS3Files>
  keys(): Promise<string[]>
  /** Uploads that were begun and neither finished nor given up. */
  openUploads(): Promise<number>
  /** The server goes. */
  stop(): Promise<void>
}

/** A bucket of its own on a server of its own, gone after the test. */
export async function s3Bucket(): Promise<Bucket> {
  const folder = mkdtempSync(join(tmpdir(), 'perdure-s3-'))
  for (const name of ['data', 'iam']) mkdirSync(join(folder, name))
  const credentials = { accessKeyId: 'perdure', secretAccessKey: randomBytes(12).toString('hex') }
  const [port] = await freePorts(1)
  const server = spawn(
    s3Server() ?? '',
    [
      '--port',
      `127.0.0.1:${port}`,
      '--quiet',
      '--iam-dir',
      join(folder, 'iam'),
      'posix',
      join(folder, 'data'),
    ],
    {
      stdio: 'ignore',
      env: {
        ...process.env,
        ROOT_ACCESS_KEY: credentials.accessKeyId,
        ROOT_SECRET_KEY: credentials.secretAccessKey,
      },
    },
  )
  const stop = async () => {
    if (server.exitCode !== null || server.signalCode !== null) return
    server.kill('SIGKILL')
    await once(server, 'exit')
  }
  onTestFinished(async () => {
    await stop()
    rmSync(folder, { recursive: true, force: true })
  })
  const endpoint = `http://127.0.0.1:${port}`
  const settings = { bucket: 'uploads', region: 'us-east-1', prefix: 'perdure/', endpoint, credentials }
  const admin = new S3Client({ region: settings.region, endpoint, credentials, forcePathStyle: true })
  const bytes = makeS3Files(settings)
  onTestFinished(() => {
    admin.destroy()
    bytes.close()
  })
  const Bucket = settings.bucket
  await vi.waitFor(() => admin.send(new CreateBucketCommand({ Bucket })), { timeout: 30_000, interval: 100 })
  return {
    settings,
    bytes,
    stop,
    async keys() {
      const { Contents = [] } = await admin.send(new ListObjectsV2Command({ Bucket }))
      return Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key]))
    },
    async openUploads() {
      const { Uploads = [] } = await admin.send(new ListMultipartUploadsCommand({ Bucket }))
      return Uploads.length
    },
  }
}

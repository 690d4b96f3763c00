/** Files as a worker has them kept and removed: over HTTP, with a token, never on a disk of its own. */
import { readdirSync } from 'node:fs'
import { Readable } from 'node:stream'
import { expect, onTestFinished, test, vi } from 'vitest'
import { loadWorker } from '../config.ts'
import { ServiceError } from '../contracts/errors.ts'
import { makeUploads } from '../worker/uploads.ts'
import { type RecordService, recordService } from './support/record-service.ts'
import { json, startScriptedServer } from './support/scripted-server.ts'

const apiKey = 'k3y'
const never = new AbortController().signal
const keptMs = 60_000

function uploadsOf({ store, url }: Pick<RecordService, 'store' | 'url'>, secret = apiKey) {
  return makeUploads({ store, url: () => url, secret })
}

const chunks = (...parts: string[]) => Readable.from(parts, { objectMode: false })

test('a file of any length is kept under its prediction, and read by the address it is given', async () => {
  const service = await recordService({ apiKey })
  const uploads = uploadsOf(service)
  const long = 'x'.repeat(300_000)
  for (const content of ['', 'abc', `\r\n--${long}--\r\n`]) {
    const address = await uploads.keep('p1', 'picture.png', chunks(content), never)
    expect(address).toMatch(/\/files\/[0-9a-f-]{36}\.png$/)
    expect(await (await fetch(address)).text()).toBe(content)
  }
  expect(readdirSync(service.folder)).toHaveLength(3)
  expect(service.unexpected).toEqual([])
})

test('what cannot be kept leaves nothing there, and says whether it may be tried again', async () => {
  const service = await recordService({ apiKey, maxFileBytes: 1_000 })
  const broken = async function* () {
    yield 'the first part'
    throw new ServiceError('platform_unreachable', 'the provider hung up')
  }
  const kept = (uploads = uploadsOf(service), content: Readable = chunks('here it is'), signal = never) =>
    uploads.keep('p1', 'x', content, signal)
  await expect(kept(uploadsOf(service, 'another'))).rejects.toMatchObject({ code: 'invalid_input' })
  await expect(kept(undefined, Readable.from(broken()))).rejects.toMatchObject({
    code: 'platform_unreachable',
  })
  const busy = await startScriptedServer(json({}, 503))
  onTestFinished(() => busy.close())
  for (const url of [busy.origin, 'http://127.0.0.1:1', '']) {
    await expect(kept(uploadsOf({ ...service, url }))).rejects.toMatchObject({ code: 'store_unavailable' })
  }
  const left = new Error('nobody waits for it')
  await expect(kept(undefined, undefined, AbortSignal.abort(left))).rejects.toBe(left)
  await vi.waitFor(async () => {
    expect(readdirSync(service.folder)).toEqual([])
    expect(await service.store.oldFiles(-keptMs, 10)).toEqual([])
  }, 30_000)
})

test('what is over is removed where files lie, by that service’s own time, and only by who has the key', async () => {
  const due = await recordService({ apiKey, retentionMs: -keptMs })
  for (let n = 0; n < 3; n++) await uploadsOf(due).keep('gone', 'x', chunks('content'), never)
  await expect(uploadsOf(due, 'another').expire(-keptMs)).rejects.toThrow('answered 401')
  // A worker that keeps records longer asks for nothing.
  await uploadsOf({ ...due, url: '' }).expire(keptMs)
  expect(readdirSync(due.folder)).toHaveLength(3)
  await uploadsOf(due).expire(-keptMs)
  expect(readdirSync(due.folder)).toEqual([])

  const later = await recordService({ apiKey, retentionMs: keptMs })
  await uploadsOf(later).keep('gone', 'x', chunks('content'), never)
  await uploadsOf(later).expire(-keptMs)
  expect(readdirSync(later.folder)).toHaveLength(1)
})

// H-01.
test('a worker has no setting that leads to uploaded files', () => {
  const env = { UPLOAD_S3_BUCKET: 'uploads', PERDURE_URL: 'http://api:8000', SECRET_APIKEY: apiKey }
  const config = loadWorker(env)
  expect(config).not.toHaveProperty('files')
  expect(config.apiUrl).toBe('http://api:8000')
  expect(JSON.stringify(config)).not.toContain('uploads"')
})

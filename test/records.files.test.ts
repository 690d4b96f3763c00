/** Uploads, tokens, downloads and their expiry, over real HTTP and a real folder. */
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { FormData, request } from 'undici'
import { expect, test, vi } from 'vitest'
import { rangeOf } from '../records/download-routes.ts'
import { expireFiles, isFileName, newFileName } from '../records/files.ts'
import { makeUploadTokens } from '../records/upload-tokens.ts'
import { recordService } from './support/record-service.ts'
import { admitted } from './support/stores.ts'

function form(files: Record<string, { bytes: Uint8Array; name?: string }>): FormData {
  const data = new FormData()
  for (const [field, { bytes, name = 'out.bin' }] of Object.entries(files)) {
    data.set(field, new Blob([bytes.slice()]), name)
  }
  return data
}

async function post(url: string, body: FormData | string, headers = {}) {
  const answer = await request(url, { method: 'POST', body, headers })
  return { status: answer.statusCode, json: JSON.parse(await answer.body.text()) }
}

async function download(url: string, headers = {}) {
  const answer = await request(url, { headers })
  return {
    status: answer.statusCode,
    bytes: Buffer.from(await answer.body.arrayBuffer()),
    headers: answer.headers,
  }
}

const picture = randomBytes(100_000)

test('an uploaded file comes back byte for byte under a new name with its extension', async () => {
  const { url } = await recordService()
  const { status, json } = await post(`${url}/upload`, form({ file: { bytes: picture, name: 'a cat.png' } }))
  expect(status).toBe(200)
  expect(Object.keys(json)).toEqual(['url'])
  expect(json.url).toMatch(new RegExp(`^${url}/files/[0-9a-f-]{36}\\.png$`))
  const got = await download(json.url)
  expect(got.bytes.equals(picture)).toBe(true)
  expect(got.headers).toMatchObject({
    'content-type': 'image/png',
    'content-length': '100000',
    'x-content-type-options': 'nosniff',
  })
})

test('a batch answers its addresses in the order of the fields', async () => {
  const { url } = await recordService()
  const bytes = [0, 1, 2].map((n) => Buffer.from(`content of file ${n}`))
  const sent = form({
    file_2: { bytes: bytes[2]! },
    file_0: { bytes: bytes[0]! },
    file_1: { bytes: bytes[1]! },
  })
  const { status, json } = await post(`${url}/upload_batch`, sent, { NUM_FILES: '3' })
  expect(status).toBe(200)
  const got = await Promise.all(json.urls.map(async (at: string) => (await download(at)).bytes.toString()))
  expect(got).toEqual(bytes.map(String))
})

test.each(['-1', '0', '1e9', '1001', '99999999999', 'three', ''])(
  'NUM_FILES %j is refused',
  async (count) => {
    const { url } = await recordService()
    const sent = form({ file_0: { bytes: picture } })
    expect((await post(`${url}/upload_batch`, sent, { NUM_FILES: count })).status).toBe(400)
  },
)

test('what is no upload is refused and leaves neither bytes nor rows', async () => {
  const { url, store, folder, unexpected } = await recordService({ maxFileBytes: 50_000 })
  const refused = async (body: FormData | string, headers = {}) => {
    const answer = await post(`${url}/upload`, body, headers)
    expect(answer.json).toMatchObject({ error: expect.any(String) })
    return answer.status
  }
  expect(await refused(form({ other: { bytes: picture.subarray(0, 100) } }))).toBe(400)
  expect(await refused(form({ file: { bytes: Buffer.from('7 bytes') } }))).toBe(400)
  expect(await refused(form({ file: { bytes: picture } }))).toBe(413)
  expect(await refused('{}', { 'content-type': 'application/json' })).toBe(400)
  expect(await refused('', { 'content-type': 'multipart/form-data' })).toBe(400)
  const cut = '--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nsome bytes, no end'
  expect(await refused(cut, { 'content-type': 'multipart/form-data; boundary=b' })).toBe(400)
  const half = form({ file_0: { bytes: picture.subarray(0, 100) } })
  expect((await post(`${url}/upload_batch`, half, { NUM_FILES: '2' })).status).toBe(400)
  expect(readdirSync(folder)).toEqual([])
  expect(await store.oldFiles(-60_000, 10)).toEqual([])
  expect(unexpected).toEqual([])
})

test('a caller that leaves in the middle of an upload leaves nothing behind', async () => {
  const { url, store, folder } = await recordService()
  const { port } = new URL(url)
  const socket = connect(Number(port), '127.0.0.1')
  socket.write(
    'POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n' +
      '--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' +
      'y'.repeat(200_000),
  )
  await vi.waitFor(() => expect(readdirSync(folder)).toHaveLength(1), 10_000)
  socket.destroy()
  await vi.waitFor(() => expect(readdirSync(folder)).toEqual([]), 10_000)
  await vi.waitFor(async () => expect(await store.oldFiles(-60_000, 10)).toEqual([]), 10_000)
})

test('with a key set, the path token of a prediction uploads without it; wrong and expired tokens are 401', async () => {
  const { url, tokens, store } = await recordService({ apiKey: 'k3y' })
  const [id] = await admitted(store)
  const sent = () => form({ file: { bytes: picture } })
  expect((await post(`${url}/upload`, sent())).status).toBe(401)
  expect((await post(`${url}/upload`, sent(), { apikey: 'k3y' })).status).toBe(200)
  const token = tokens.issue(id!, 60_000)
  const { status, json } = await post(`${url}/u/${token}/upload`, sent())
  expect(status).toBe(200)
  expect((await download(json.url)).bytes.equals(picture)).toBe(true)
  const batch = await post(`${url}/u/${token}/upload_batch`, form({ file_0: { bytes: picture } }), {
    NUM_FILES: '1',
  })
  expect(batch.status).toBe(200)
  const forged = makeUploadTokens('other').issue(id!, 60_000)
  const expired = tokens.issue(id!, -1_000)
  for (const bad of [forged, expired, 'x', `${token}x`, token.slice(0, -1), `${token}.x`, '%00']) {
    expect((await post(`${url}/u/${bad}/upload`, sent())).status, bad).toBe(401)
  }
})

test('a token names its prediction, whatever characters it holds, until its time', () => {
  let now = 1_000_000
  const tokens = makeUploadTokens('s', () => now)
  const token = tokens.issue('id with spaces\nand ü', 5_000)
  expect(token).toMatch(/^[A-Za-z0-9_.-]+$/)
  expect(tokens.verify(token)).toEqual({ predictionId: 'id with spaces\nand ü' })
  now += 5_000
  expect(tokens.verify(token)).toBeUndefined()
})

test('ranges are served as RFC 9110 says', async () => {
  const { url } = await recordService()
  const { json } = await post(`${url}/upload`, form({ file: { bytes: picture } }))
  const part = async (range: string, headers = {}) => download(json.url, { range, ...headers })
  for (const [range, first, last] of [
    ['bytes=0-0', 0, 0],
    ['bytes=10-19', 10, 19],
    ['bytes=99990-', 99_990, 99_999],
    ['bytes=99990-200000', 99_990, 99_999],
    ['bytes=-5', 99_995, 99_999],
    ['bytes=-200000', 0, 99_999],
  ] as const) {
    const got = await part(range)
    expect(got.status, range).toBe(206)
    expect(got.headers['content-range']).toBe(`bytes ${first}-${last}/100000`)
    expect(got.bytes.equals(picture.subarray(first, last + 1)), range).toBe(true)
  }
  for (const range of ['bytes=100000-', 'bytes=-0']) {
    const got = await part(range)
    expect(got.status).toBe(416)
    expect(got.headers['content-range']).toBe('bytes */100000')
  }
  for (const range of ['bytes=5-1', 'bytes=0-1,4-5', 'lines=1-2', 'bytes=x']) {
    expect((await part(range)).status, range).toBe(200)
  }
  const { etag } = (await download(json.url)).headers
  expect((await part('bytes=0-3', { 'if-range': etag })).status).toBe(206)
  expect((await part('bytes=0-3', { 'if-range': '"other"' })).status).toBe(200)
  expect((await download(json.url, { 'if-none-match': etag })).status).toBe(304)
  const head = await request(json.url, { method: 'HEAD' })
  expect(head.headers).toMatchObject({ 'content-length': '100000', 'accept-ranges': 'bytes' })
  expect(rangeOf('bytes=0-', 0)).toBe('unsatisfiable')
})

test('path tricks in names are harmless, sent or asked for', async () => {
  const { url, folder } = await recordService()
  for (const name of [
    '../../etc/passwd',
    '..',
    '.png',
    'x.p/../n',
    'a.<script>',
    `x.${'y'.repeat(40)}`,
    'x.tar.gz',
  ]) {
    const { status, json } = await post(`${url}/upload`, form({ file: { bytes: picture, name } }))
    expect(status).toBe(200)
    expect(isFileName(json.url.split('/files/')[1])).toBe(true)
  }
  expect(readdirSync(folder).every(isFileName)).toBe(true)
  for (const name of [
    '..%2f..%2fetc%2fpasswd',
    '%2e%2e',
    'x',
    '.x.part',
    '00000000-0000-0000-0000-000000000000',
  ]) {
    expect((await download(`${url}/files/${name}`)).status).toBe(404)
  }
  expect(newFileName('a.b.TXT')).toMatch(/\.TXT$/)
})

test('files go when they are old and their prediction is gone, and not before', async () => {
  const { url, store, bytes, folder, tokens } = await recordService({ apiKey: 'k' })
  const [id] = await admitted(store)
  await post(`${url}/u/${tokens.issue(id!, 60_000)}/upload`, form({ file: { bytes: picture } }))
  await post(`${url}/upload`, form({ file: { bytes: picture } }), { apikey: 'k' })
  const later = -60_000
  expect(await expireFiles(store, bytes, 60_000)).toBe(0)
  expect(await expireFiles(store, bytes, later)).toBe(1)
  expect(readdirSync(folder)).toHaveLength(1)
  await store.cancel(id!)
  for (let [row] = await store.outboxNext([id!]); row; [row] = await store.outboxNext([id!])) {
    await store.outboxDone(row.seq)
  }
  await store.expire(later)
  expect(await expireFiles(store, bytes, later)).toBe(1)
  expect(readdirSync(folder)).toEqual([])
})

test('a gigabyte streams through both ways in bounded memory', async () => {
  const size = 1024 ** 3
  const { url } = await recordService({ maxFileBytes: 2 * size })
  const block = randomBytes(1024 * 1024)
  const sent = createHash('sha256')
  let peak = 0
  const watch = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().rss)
  }, 20)
  const before = process.memoryUsage().rss
  async function* content() {
    yield '--b\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
    for (let at = 0; at < size; at += block.length) {
      sent.update(block)
      yield block
    }
    yield '\r\n--b--\r\n'
  }
  try {
    const answer = await request(`${url}/upload`, {
      method: 'POST',
      body: Readable.from(content()),
      headers: { 'content-type': 'multipart/form-data; boundary=b' },
    })
    const { url: at } = (await answer.body.json()) as { url: string }
    const got = createHash('sha256')
    for await (const chunk of (await request(at)).body) got.update(chunk)
    expect(got.digest('hex')).toBe(sent.digest('hex'))
  } finally {
    clearInterval(watch)
  }
  const grownMiB = (peak - before) / 1024 ** 2
  console.log(
    `1 GiB up and down, client and server in one process: ${grownMiB.toFixed(0)} MiB more at the peak`,
  )
  expect(grownMiB).toBeLessThan(300)
}, 180_000)

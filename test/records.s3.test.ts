/** The S3 storage against a real server: whole objects or none, ranges, bounded memory, and the service away. */
import { createHash, randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { FormData, request } from 'undici'
import { expect, test, vi } from 'vitest'
import { ServiceError } from '../contracts/errors.ts'
import { expireFiles, newFileName } from '../records/files.ts'
import { recordService } from './support/record-service.ts'
import { s3, s3Bucket } from './support/s3.ts'

function form(bytes: Uint8Array): FormData {
  const data = new FormData()
  data.set('file', new Blob([bytes.slice()]), 'big.bin')
  return data
}

s3.describe('S3', () => {
  test.each([8, 100_000, 8 * 1024 * 1024, 20 * 1024 * 1024 + 1])(
    'a file of %i bytes comes back as it was, whole and in ranges, and can be removed twice',
    async (size) => {
      const { bytes, keys } = await s3Bucket()
      const name = newFileName('x.bin')
      const content = randomBytes(size)
      expect(await bytes.look(name)).toBeUndefined()
      await bytes.put(name, Readable.from([content.subarray(0, size / 2), content.subarray(size / 2)]))
      expect(await bytes.look(name)).toEqual({ size, modifiedAt: expect.any(Date) })
      expect((await buffer(await bytes.read(name))).equals(content)).toBe(true)
      const part = await buffer(await bytes.read(name, { first: 2, last: 5 }))
      expect(part.equals(content.subarray(2, 6))).toBe(true)
      expect(await keys()).toEqual([`perdure/${name}`])
      await bytes.remove([name])
      await bytes.remove([name])
      expect(await bytes.look(name)).toBeUndefined()
      expect(await keys()).toEqual([])
    },
    60_000,
  )

  test('content that fails in the middle leaves neither an object nor paid-for parts', async () => {
    const { bytes, keys, openUploads } = await s3Bucket()
    async function* failing() {
      for (let n = 0; n < 20; n++) yield randomBytes(1024 * 1024)
      throw new ServiceError('payload_too_large', 'too much')
    }
    await expect(bytes.put(newFileName('x'), Readable.from(failing()))).rejects.toMatchObject({
      code: 'payload_too_large',
    })
    expect(await keys()).toEqual([])
    expect(await openUploads()).toBe(0)
  })

  test('uploads, downloads with ranges, limits and expiry work through the record service', async () => {
    const { bytes, keys, openUploads } = await s3Bucket()
    const { url, store } = await recordService({ maxFileBytes: 30 * 1024 * 1024 }, bytes)
    const content = randomBytes(20 * 1024 * 1024)
    const answer = await request(`${url}/upload`, { method: 'POST', body: form(content) })
    const { url: at } = (await answer.body.json()) as { url: string }
    const whole = await request(at)
    expect((await buffer(whole.body)).equals(content)).toBe(true)
    const tail = await request(at, { headers: { range: 'bytes=-10' } })
    expect(tail.statusCode).toBe(206)
    expect((await buffer(tail.body)).equals(content.subarray(-10))).toBe(true)

    const tooLarge = await request(`${url}/upload`, {
      method: 'POST',
      body: form(randomBytes(31 * 1024 * 1024)),
    })
    expect(tooLarge.statusCode).toBe(413)
    await tooLarge.body.dump()
    expect(await keys()).toHaveLength(1)
    expect(await openUploads()).toBe(0)

    expect(await expireFiles(store, bytes, -60_000)).toBe(1)
    expect(await keys()).toEqual([])
  }, 120_000)

  test('a caller that leaves in the middle leaves neither an object nor paid-for parts', async () => {
    const { bytes, keys, openUploads } = await s3Bucket()
    const { url, store } = await recordService({ maxFileBytes: 100 * 1024 * 1024 }, bytes)
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.write(
      'POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 90000000\r\n\r\n' +
        '--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n',
    )
    socket.write(randomBytes(20 * 1024 * 1024))
    await vi.waitFor(async () => expect(await openUploads()).toBe(1), { timeout: 30_000, interval: 50 })
    socket.destroy()
    await vi.waitFor(async () => expect(await openUploads()).toBe(0), { timeout: 30_000, interval: 50 })
    expect(await keys()).toEqual([])
    await vi.waitFor(async () => expect(await store.oldFiles(-60_000, 10)).toEqual([]), 30_000)
  })

  test('300 MiB stream through both ways in bounded memory', async () => {
    const { bytes } = await s3Bucket()
    const name = newFileName('x')
    const block = randomBytes(1024 * 1024)
    const sent = createHash('sha256')
    async function* content() {
      for (let n = 0; n < 300; n++) {
        sent.update(block)
        yield block
      }
    }
    const before = process.memoryUsage().rss
    let peak = before
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss)
    }, 20)
    try {
      await bytes.put(name, Readable.from(content()))
      const got = createHash('sha256')
      for await (const chunk of await bytes.read(name)) got.update(chunk)
      expect(got.digest('hex')).toBe(sent.digest('hex'))
    } finally {
      clearInterval(watch)
    }
    expect((peak - before) / 1024 ** 2).toBeLessThan(250)
  }, 120_000)

  test('with the service away an upload and a download answer 503', async () => {
    const { bytes, stop } = await s3Bucket()
    const { url, unexpected } = await recordService({}, bytes)
    const answer = await request(`${url}/upload`, { method: 'POST', body: form(randomBytes(100)) })
    const { url: at } = (await answer.body.json()) as { url: string }
    await stop()
    const upload = await request(`${url}/upload`, { method: 'POST', body: form(randomBytes(100)) })
    expect(upload.statusCode).toBe(503)
    await upload.body.dump()
    const download = await request(at)
    expect(download.statusCode).toBe(503)
    await download.body.dump()
    expect(unexpected).toEqual([])
  })
})

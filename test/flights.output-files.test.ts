/**
 * Files that a job names in its output are copied before the provider deletes them (prediction-agent specification, 8
 * number 40, 10.3): real Temporal, real store, a provider twin, and a file host that the settings allow.
 */
import { text } from 'node:stream/consumers'
import { expect, onTestFinished, test, vi } from 'vitest'
import { makeDownloads } from '../platforms/guarded-download.ts'
import { makeOutputFiles } from '../worker/output-files.ts'
import { makeUploads } from '../worker/uploads.ts'
import { startInProcess } from './support/in-process.ts'
import { providers } from './support/providers.ts'
import { serveRecords } from './support/record-service.ts'
import { json, type ScriptedServer, type Step, send, startScriptedServer } from './support/scripted-server.ts'

const soon = { timeout: 30_000, interval: 20 }

const [replicate] = providers

const apiKey = 'k3y'

async function stage(answer: Step, { maxFileBytes = 1_000, secret = apiKey } = {}) {
  const host = await startScriptedServer(answer)
  onTestFinished(() => host.close())
  const { twin, settings } = await replicate!.start()
  const lost: unknown[] = []
  // Nobody listens there.
  const at = { url: 'http://127.0.0.1:1' }
  const set = await startInProcess({
    settings,
    outputFiles: (store) =>
      makeOutputFiles({
        uploads: makeUploads({ store, secret, url: () => at.url }),
        ...{ maxFileBytes, address: '', hosts: ['127.0.0.1'], rules: rulesFor(host) },
        warn: (details) => void lost.push(details.error),
      }),
  })
  const records = await serveRecords(set.store, { apiKey })
  at.url = records.url
  return {
    ...{ ...set, host, twin, records, at, lost },
    async outputOf(output: unknown): Promise<unknown> {
      const inputs = JSON.stringify({ twin: { output } })
      const { id } = await set.lifecycle.service.submit(set.request(1, { inputs }))
      const record = await set.lifecycle.service.waitFor(id, 30_000)
      expect(record).toMatchObject({ status: 'succeeded', errorInfo: '' })
      return (JSON.parse(record!.outputs) as { output: unknown }).output
    },
  }
}

function rulesFor(host: ScriptedServer) {
  const port = Number(new URL(host.origin).port)
  return { allowHttp: true, allowCidrs: ['127.0.0.1/32'], allowPorts: [port] }
}

test('40: files of an output are copied once each, without the key, and outlive the provider', async () => {
  const { host, outputOf, records, store } = await stage((call, response) =>
    response.end(`bytes of ${call.path}`),
  )
  const image = `${host.origin}/out/image.png`
  const elsewhere = 'https://files.example/kept.png'
  const output = await outputOf({
    ...{ images: [image, image, `${host.origin}/b`], elsewhere },
    note: `see ${image}`,
  })
  expect(output).toMatchObject({ elsewhere, note: `see ${image}` })
  const { images } = output as { images: string[] }
  expect(images[0]).toMatch(/^\/files\/[0-9a-f-]{36}\.png$/)
  expect(images[1]).toBe(images[0])
  await host.close()
  for (const [address, path] of [
    [images[0]!, '/out/image.png'],
    [images[2]!, '/b'],
  ] as const) {
    expect(await text(await records.bytes.read(address.slice('/files/'.length)))).toBe(`bytes of ${path}`)
  }
  expect(host.calls.map(({ path }) => path).sort()).toEqual(['/b', '/out/image.png'])
  for (const { headers } of host.calls) expect(headers.authorization).toBeUndefined()
  // They belong to their prediction, and go with it.
  expect(await store.oldFiles(-60_000, 10)).toEqual([])
})

test('40: a file host that is busy is asked again', async () => {
  const { host, outputOf } = await stage(json({}, 503))
  host.script(json({}, 503), send('here it is'))
  expect(await outputOf(`${host.origin}/x.txt`)).toMatch(/^\/files\/.*\.txt$/)
  expect(host.calls).toHaveLength(2)
})

test.each([
  ['is gone', json({}, 404)],
  ['leads elsewhere', send('', 302, { location: 'https://elsewhere.test/' })],
  ['is larger than allowed', send('x'.repeat(5_000))],
] as const)(
  '40: a file that %s stays where it is, and the prediction has succeeded',
  async (_why, answer) => {
    const { host, outputOf, lost, store } = await stage(answer)
    expect(await outputOf([`${host.origin}/x`])).toEqual([`${host.origin}/x`])
    expect(lost).toHaveLength(1)
    await vi.waitFor(async () => expect(await store.oldFiles(-60_000, 10)).toEqual([]), soon)
  },
)

// H-01: a worker holds no files, so what keeps them is another process, which may be away for a while.
test('a file is copied once what keeps files is back', async () => {
  const { host, outputOf, records, at, lost } = await stage(send('short'))
  at.url = 'http://127.0.0.1:1'
  host.script((call, response, request) => {
    if (host.calls.length > 1) at.url = records.url
    send('short')(call, response, request)
  })
  const kept = String(await outputOf(`${host.origin}/x.txt`))
  expect(await text(await records.bytes.read(kept.slice('/files/'.length)))).toBe('short')
  expect(host.calls.length).toBeGreaterThan(1)
  expect(lost).toEqual([])
})

test('a worker whose key is another than the record service’s says why its files stay at the provider', async () => {
  const { host, outputOf, lost } = await stage(send('here it is'), { secret: 'another' })
  expect(await outputOf(`${host.origin}/x.txt`)).toBe(`${host.origin}/x.txt`)
  expect(String(lost[0])).toContain('answered 401: {"error":"the upload address is not valid')
  expect(host.calls).toHaveLength(1)
})

test('a prediction that is canceled while its files are copied is copied no further', async () => {
  const closed = Promise.withResolvers<void>()
  const {
    host,
    twin: _,
    ...set
  } = await stage((_call, response) => {
    response.on('close', closed.resolve)
  })
  const inputs = JSON.stringify({ twin: { output: [`${host.origin}/a`] } })
  const { id } = await set.lifecycle.service.submit(set.request(1, { inputs }))
  await vi.waitFor(() => expect(host.calls).toHaveLength(1), 30_000)
  expect(await set.lifecycle.service.cancel(id)).toEqual({ outcome: 'canceled' })
  await closed.promise
  expect(await set.lifecycle.service.waitFor(id, 30_000)).toMatchObject({ status: 'canceled' })
  await vi.waitFor(async () => {
    expect(await set.store.oldFiles(-60_000, 10)).toEqual([])
  }, 30_000)
  expect(set.lost).toEqual([])
})

test('only files at the hosts that are named are read, over https, never at an address inside', () => {
  const rules = { allowHttp: false, allowCidrs: [], allowPorts: [] }
  const downloads = makeDownloads({ hosts: ['replicate.delivery', '127.0.0.1'], rules })
  onTestFinished(() => downloads.close())
  expect(downloads.covers('https://replicate.delivery/pbxt/a.png')).toBe(true)
  expect(downloads.covers('https://pbxt.replicate.delivery/a.png?x=1')).toBe(true)
  for (const text of [
    'http://replicate.delivery/a.png',
    'https://replicate.delivery.evil.example/a.png',
    'https://evilreplicate.delivery/a.png',
    'https://user:pass@replicate.delivery/a.png',
    'https://replicate.delivery:8443/a.png',
    'https://127.0.0.1/a.png',
    'see https://replicate.delivery/a.png',
    'data:text/plain,hello',
    'https://',
  ]) {
    expect(downloads.covers(text), text).toBe(false)
  }
})

/** What model servers say of themselves, in Perdure's store: a model server's records and endpoints, over HTTP, end to end. */
import { expect, onTestFinished, test, vi } from 'vitest'
import {
  createModelServer,
  perdureEndpoints,
  type ServerOptions,
  V2ModelServer,
  ValueError,
} from '../modelserver/index.ts'
import { recordService } from './support/record-service.ts'
import { describeStores, storeAt } from './support/stores.ts'

const record = (more: object = {}) => ({
  project: 'p',
  model: 'm',
  version: 'v1',
  failed: false,
  body: '{"n":1}',
  ...more,
})
const endpoint = { project: 'p', uid: 'u', model: 'm:v1', body: '{"spec":{"model_uri":"a","digits":1.0}}' }

describeStores('tracking', (kind) => {
  test('records are listed newest first, filtered and in pages', async () => {
    const { tracking } = await storeAt(await kind.place())
    await tracking.append([record(), record({ model: 'other\0' }), record({ version: 'v2', failed: true })])
    await tracking.append([record({ project: 'q' })])
    const seqs = async (filter: object) =>
      (await tracking.list({ limit: 10, ...filter })).map(({ seq }) => seq)
    expect(await seqs({})).toEqual([4, 3, 2, 1])
    expect(await seqs({ model: 'm', project: 'p' })).toEqual([3, 1])
    expect(await seqs({ version: 'v2' })).toEqual([3])
    expect([await seqs({ failed: true }), await seqs({ failed: false })]).toEqual([[3], [4, 2, 1]])
    expect(await seqs({ limit: 2, before: 4 })).toEqual([3, 2])
    expect(await tracking.list({ limit: 1 })).toEqual([
      { seq: 4, createdAt: expect.stringMatching(/^\d{4}-.*Z$/), body: '{"n":1}' },
    ])
  })

  test('old records are deleted with the old predictions', async () => {
    const store = await storeAt(await kind.place())
    await store.tracking.append([record()])
    await store.expire(60_000)
    expect(await store.tracking.list({ limit: 1 })).toHaveLength(1)
    await store.expire(-60_000)
    expect(await store.tracking.list({ limit: 1 })).toEqual([])
  })

  test('an endpoint is created once, patched in place, digits kept', async () => {
    const { tracking } = await storeAt(await kind.place())
    expect(await tracking.endpoint('p', 'u')).toBeUndefined()
    expect(await tracking.patchEndpoint('p', 'u', { model_uri: 'b' })).toBeUndefined()
    expect(await tracking.createEndpoint(endpoint)).toBe(true)
    expect(await tracking.createEndpoint({ ...endpoint, body: '{}' })).toBe(false)
    const patched = '{"spec":{"model_uri":"b","digits":1.0}}'
    expect(await tracking.patchEndpoint('p', 'u', { model_uri: 'b' })).toBe(patched)
    expect(await tracking.endpoint('p', 'u')).toBe(patched)
    await tracking.createEndpoint({ ...endpoint, project: 'q' })
    expect(await tracking.endpoints('p', 10)).toEqual([patched])
    expect(await tracking.endpoints('', 10)).toHaveLength(2)
  })
})

class Metric extends V2ModelServer {
  override labels = { team: 'x' }
  override load(): void {}
  override predict({ inputs = [] }: { inputs?: unknown[] }): unknown {
    if (Number(inputs[0]) < 0) throw new ValueError('negative')
    return inputs
  }
}

async function modelServer(options: ServerOptions): Promise<(inputs: unknown[]) => Promise<unknown>> {
  const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
  const server = createModelServer({ functionUri: 'shop/f:v3', trackModels: true, logger, ...options })
  server.addModel('my:v1', { class: Metric })
  onTestFinished(() => server.stop())
  await server.start()
  return (inputs) => server.test('/v2/models/my/versions/v1/infer', { body: { inputs }, silent: true })
}

async function ask(url: string, headers: Record<string, string> = {}, init: RequestInit = {}) {
  const response = await fetch(url, { headers, ...init })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

test("a model server's records and endpoint are found in the store", async () => {
  const apiKey = 'secret'
  const { url, unexpected } = await recordService({ apiKey })
  const address = url.replace('http://', 'perdure://')
  const args = { api_key: apiKey }
  const infer = await modelServer({
    monitoringStream: address,
    parameters: { stream_args: args },
    endpointStore: perdureEndpoints(address, args),
  })
  const key = { apikey: apiKey }
  await infer([1])
  await infer([-1])
  const list = async (query = '') => (await ask(`${url}/tracking${query}`, key)).body.records
  await vi.waitFor(async () => expect(await list()).toHaveLength(2), 20_000)
  expect(await list('?project=shop&model=my&version=v1')).toMatchObject([
    { record: { model: 'my', error: 'negative', request: { inputs: [-1] } } },
    { record: { class: 'Metric', labels: { team: 'x' }, op: 'infer', resp: { outputs: [1] } } },
  ])
  expect(await list('?failed=true')).toHaveLength(1)
  const { endpoints } = (await ask(`${url}/model-endpoints?project=shop`, key)).body as {
    endpoints: Array<{ metadata: { uid: string } }>
  }
  expect(endpoints).toMatchObject([
    { metadata: { project: 'shop' }, spec: { model: 'my:v1', monitoring_mode: 'enabled', model_uri: '' } },
  ])

  // The next start of the same function patches what has changed.
  await modelServer({ trackModels: false, endpointStore: perdureEndpoints(address, args) })
  const uid = endpoints[0]?.metadata.uid
  const one = await ask(`${url}/model-endpoints/shop/${uid}`, key)
  expect(one.body).toMatchObject({ spec: { model: 'my:v1', monitoring_mode: 'disabled' } })
  expect(unexpected).toEqual([])
})

test('a store that is away or refuses costs no request, and its records are counted', async () => {
  const { url } = await recordService({ apiKey: 'secret' })
  for (const address of [url.replace('http://', 'perdure://'), 'perdure://127.0.0.1:9']) {
    const infer = await modelServer({ monitoringStream: address, endpointStore: address })
    expect(await infer([1])).toMatchObject({ status: 200 })
  }
  expect(() =>
    createModelServer({ endpointStore: 'redis://x' }).addModel('m', { class: Metric }),
  ).not.toThrow()
  await expect(modelServer({ endpointStore: 'redis://x' })).rejects.toThrow(
    'unsupported stream path redis://x',
  )
})

test('error streams may lead to the store too', async () => {
  const { url } = await recordService()
  const infer = await modelServer({ trackModels: false, errorStream: url.replace('http://', 'perdure://') })
  await infer([-1])
  await vi.waitFor(
    async () =>
      expect((await ask(`${url}/tracking?failed=true`)).body.records).toMatchObject([
        { record: { source: '_handler', message: 'ValueError: negative' } },
      ]),
    20_000,
  )
})

test.each([
  ['POST', '/tracking', '{', 400],
  ['POST', '/tracking', '[{"model":5}]', 400],
  ['POST', '/model-endpoints', '{"kind":"model-endpoint"}', 400],
  ['PATCH', '/model-endpoints/p/u', '{"model_uri":"x"}', 404],
  ['PATCH', '/model-endpoints/p/u', '{"model":"x"}', 400],
  ['GET', '/model-endpoints/p/u', undefined, 404],
  ['GET', '/tracking?limit=0', undefined, 400],
])('%s %s %s is refused with a reason', async (method, path, body, status) => {
  const { url } = await recordService()
  const answer = await ask(url + path, {}, { method, ...(body === undefined ? {} : { body }) })
  expect(answer).toEqual({ status, body: { error: expect.any(String), code: expect.any(String) } })
})

test('pages of records hang together, and without the key there are none', async () => {
  const { url } = await recordService({ apiKey: 'k' })
  const key = { apikey: 'k' }
  const records = Array.from({ length: 5 }, (_, n) => ({ model: 'm', n, exact: 0 }))
  const body = JSON.stringify(records).replaceAll('"exact":0', '"exact":9007199254740993')
  expect((await ask(`${url}/tracking`, key, { method: 'POST', body })).body).toEqual({ stored: 5 })
  const seen: unknown[] = []
  let next: unknown = null
  do {
    const page = await ask(`${url}/tracking?limit=2${next === null ? '' : `&before=${next}`}`, key)
    seen.push(...(page.body.records as Array<{ record: { n: number } }>).map(({ record }) => record.n))
    next = page.body.next
  } while (next !== null)
  expect(seen).toEqual([4, 3, 2, 1, 0])
  expect(await (await fetch(`${url}/tracking`, { headers: key })).text()).toContain('9007199254740993')
  expect((await ask(`${url}/tracking`)).status).toBe(401)
})

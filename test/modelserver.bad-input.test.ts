/** Whatever is sent, a server answers a specified 4xx with a reason, keeps its memory, and serves the next request. */

import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  createModelServer,
  type InferRequest,
  type Listening,
  listen,
  V2ModelServer,
} from '../modelserver/index.ts'
import { Dbl, Times } from './support/sample-models.ts'

class Any extends V2ModelServer<InferRequest> {
  override load(): void {}
  override predict({ inputs }: InferRequest): unknown {
    return inputs
  }
}

const server = createModelServer({ maxBodyBytes: 100_000 })
server.addModel('times', { class: Times })
server.addModel('dbl', { class: Dbl, protocol: 'oip' }).addModel('any', { class: Any, protocol: 'oip' })
let listening: Listening

beforeAll(async () => {
  await server.start()
  listening = await listen(server)
})

afterAll(async () => {
  await server.stop()
  await listening.close()
})

async function send(
  path: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
) {
  const response = await fetch(listening.url + path, { method: 'POST', body, headers })
  return { status: response.status, text: await response.text() }
}

async function refused(
  path: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers?: Record<string, string>,
) {
  const { status, text } = await send(path, body, headers)
  expect(status, text).toBeGreaterThanOrEqual(400)
  expect(status, text).toBeLessThan(500)
  expect(text.length).toBeGreaterThan(0)
  return text
}

const tensor = (changes: object) =>
  JSON.stringify({ inputs: [{ name: 'x', shape: [2], datatype: 'INT32', data: [1, 2], ...changes }] })

test.each([
  ['a shape that disagrees with the data', tensor({ shape: [3] })],
  ['an enormous shape', tensor({ shape: [2 ** 40, 2 ** 40] })],
  ['a negative dimension', tensor({ shape: [-1] })],
  ['a fraction as a dimension', tensor({ shape: [1.5] })],
  ['an unknown datatype', tensor({ datatype: 'INT7' })],
  ['text among integers', tensor({ data: [1, 'NaN'] })],
  ['null among integers', tensor({ data: [1, null] })],
  ['an integer out of range', tensor({ data: [1, 2 ** 31] })],
  ['no data', tensor({ data: undefined })],
  ['NaN in the JSON', tensor({}).replace('2]', 'NaN]')],
  ['deep nesting', `{"inputs":${'['.repeat(20_000)}${']'.repeat(20_000)}}`],
])('%s is refused with its reason', async (_, body) => {
  expect(JSON.parse(await refused('/v2/models/any/infer', body))).toEqual({ error: expect.any(String) })
  expect((await send('/v2/models/any/infer', tensor({}))).status).toBe(200)
})

test('binary bodies whose sizes do not add up are refused', async () => {
  const head = (size: number, shape = [2, 2]) =>
    JSON.stringify({
      inputs: [{ name: 'input0', shape, datatype: 'FP32', parameters: { binary_data_size: size } }],
    })
  const bodies: Array<[string, number, string | undefined]> = [
    [head(16), 8, undefined], // truncated
    [head(16), 20, undefined], // too long
    [head(8), 8, undefined], // too small for the shape
    [head(16, [2 ** 30, 2 ** 30]), 16, undefined],
    [head(16), 16, '99999999'],
    [head(16), 16, '-1'],
    [head(16), 16, 'many'],
  ]
  for (const [json, size, length] of bodies) {
    const bytes = new Uint8Array([...Buffer.from(json), ...new Uint8Array(size)])
    const header = length ?? String(Buffer.byteLength(json))
    await refused('/v2/models/dbl/infer', bytes, {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': header,
    })
  }
})

test('a body above the limit is refused with 413 however it is sent, and the server goes on', async () => {
  const large = new Uint8Array(200_000)
  expect((await send('/v2/models/times/infer', large)).status).toBe(413)
  const chunked = await fetch(`${listening.url}/v2/models/times/infer`, {
    method: 'POST',
    body: new Blob([large]).stream(),
    duplex: 'half',
  }).then(({ status }) => status)
  expect(chunked).toBe(413)
  expect((await send('/v2/models/times/infer', '{"inputs":[5]}')).status).toBe(200)
})

test('any bytes at any model are a 4xx', async () => {
  const path = fc.constantFrom(
    '/v2/models/times/infer',
    '/v2/models/any/infer',
    '/v1/models/times:predict',
    '/',
  )
  const type = fc.constantFrom('application/json', 'application/octet-stream', 'text/plain', '')
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 200 }).filter((some) => some[0] !== 0x7b)
  await fc.assert(
    fc.asyncProperty(path, type, bytes, async (where, contentType, body) => {
      await refused(where, new Uint8Array(body), contentType === '' ? {} : { 'content-type': contentType })
    }),
    { numRuns: 100 },
  )
})

test('any JSON object at an oip model is a 4xx or an answer', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(fc.constantFrom('inputs', 'id', 'outputs', 'parameters'), fc.jsonValue()),
      async (body) => {
        const { status, text } = await send('/v2/models/any/infer', JSON.stringify(body))
        expect([200, 400], text).toContain(status)
      },
    ),
    { numRuns: 100 },
  )
})

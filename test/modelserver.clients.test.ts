/** Clients that others wrote work unchanged: tritonclient and KServe's InferenceRESTClient, as published on PyPI. */

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { createModelServer, type InferRequest, listen, V2ModelServer } from '../modelserver/index.ts'
import { existingVenv, type VenvName } from '../scripts/python-venv.mjs'
import { pythonMissing } from './support/model-servers.ts'
import { requirement } from './support/require.ts'
import { Dbl, RowSums } from './support/sample-models.ts'

const run = promisify(execFile)
const integers = ['9007199254740993', '-9223372036854775808']
const missing = 'Model with name nope does not exist.'
const exploded = 'model exploded'

/** Returns its inputs. */
class Same extends V2ModelServer<InferRequest> {
  override load(): void {}
  override predict({ inputs }: InferRequest): unknown {
    return inputs.map(({ name, shape, datatype, data }) => ({ name, shape, datatype, data }))
  }
}

/** What a script of test/clients printed about a server with the models dbl, same and p1; `address` from its URL. */
async function ask(
  venv: VenvName,
  script: string,
  address: (url: URL) => string,
): Promise<Record<string, unknown>> {
  const server = createModelServer({ protocol: 'oip' })
  server.addModel('dbl', { class: Dbl }).addModel('same', { class: Same })
  server.addModel('p1', { class: RowSums, protocol: 'v1' })
  onTestFinished(() => server.stop())
  await server.start()
  const { url, close } = await listen(server)
  onTestFinished(close)
  const { python } = existingVenv(venv) ?? { python: '' }
  const path = fileURLToPath(new URL(`./clients/${script}`, import.meta.url))
  const { stdout } = await run(python, [path, address(new URL(url))], { timeout: 120_000 })
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
}

requirement('python', () => pythonMissing('clients')).describe('tritonclient', () => {
  test('understands every answer, in JSON and binary, and its errors', async () => {
    const seen = await ask('clients', 'triton_http.py', ({ host }) => host)
    const sums = [6, 14]
    const index = (state: string, reason: string) => [
      { name: 'dbl', state: 'READY', reason: '' },
      { name: 'same', state, reason },
      { name: 'p1', state: 'READY', reason: '' },
    ]
    expect(seen).toEqual({
      live: true,
      ready: true,
      model_ready: true,
      server: {
        name: 'perdure',
        version: '',
        extensions: ['binary_tensor_data', 'model_repository', 'generate'],
      },
      model: {
        name: 'dbl',
        platform: '',
        inputs: [{ name: 'input0', datatype: 'FP32', shape: [-1, 2] }],
        outputs: [{ name: 'output0', datatype: 'FP32', shape: [-1] }],
      },
      forms: [sums, sums, sums, sums],
      id: 'q1',
      integers: [integers, integers, integers, integers],
      bytes: [Buffer.from('grüße').toString('hex'), '00ff'],
      gzip: sums,
      lost: [],
      missing: ['404', missing],
      boom: ['500', exploded],
      nan: ['500', expect.stringMatching(/NaN.*binary form/)],
      unknown_output: ['400', 'unknown output zzz'],
      unloaded: index('UNAVAILABLE', 'unloaded'),
      loaded: index('READY', ''),
    })
  }, 180_000)
})

requirement('python', () => pythonMissing('kserve')).describe('KServe’s InferenceRESTClient', () => {
  test('speaks v2 and v1 with the same server', async () => {
    const seen = await ask('kserve', 'kserve_rest.py', ({ origin }) => origin)
    const answer = ['k1', 'dbl', [6, 14]]
    expect(seen).toEqual({
      live: true,
      ready: true,
      model_ready: true,
      outputs: [answer, answer],
      integers: [integers, integers],
      missing: [404, missing],
      shape: [400, 'inputs[0]: shape [3,2] needs 6 elements, got 2'],
      boom: [500, exploded],
      predictions: { predictions: [6, 14] },
      explanations: { explanations: [{ weights: [0.5, 0.5] }] },
      v1_ready: true,
    })
  }, 180_000)
})

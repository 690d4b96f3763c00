/** Every model in examples/ starts as its README says, answers, and stops cleanly. */

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { post, serveModel } from './support/served-model.ts'

const root = join(import.meta.dirname, '..')
const serve = (example: string) =>
  serveModel(process.execPath, ['cli/main.ts', 'serve', example, '--port', '0'], { cwd: root })

test('the iris example names flowers', async () => {
  const model = await serve('examples/iris')
  const answer = await post(`${model.origin}/v2/models/iris/infer`, {
    inputs: [
      [5.1, 3.5, 1.4, 0.2],
      [6.3, 3.3, 6, 2.5],
    ],
  })
  expect(answer).toMatchObject({
    status: 200,
    body: { id: 'evt-1', model_name: 'iris', outputs: [{ label: 'setosa' }, { label: 'virginica' }] },
  })
  expect(await model.stop()).toBe(0)
})

test('the ensemble example votes, and each of its classifiers answers alone', async () => {
  const model = await serve('examples/ensemble')
  const inputs = [
    [5.1, 3.5, 1.4, 0.2],
    [6.7, 3, 5, 1.7],
  ]
  expect(await post(`${model.origin}/v2/models/infer`, { inputs })).toEqual({
    status: 200,
    body: { id: 'evt-1', model_name: 'VotingEnsemble', model_version: 'v1', outputs: [0, 1] },
  })
  expect(await post(`${model.origin}/v2/models/bayes/infer`, { inputs })).toMatchObject({
    body: { outputs: [0, 2] },
  })
  expect(await model.stop()).toBe(0)
})

test('the text example streams the same words that it gives as a whole', async () => {
  const model = await serve('examples/text')
  const url = `${model.origin}/v2/models/text`
  const request = { id: '42', text_input: 'The keeper', parameters: { max_words: 12, seed: 7 } }
  const whole = await post(`${url}/generate`, request)
  expect(whole).toMatchObject({ status: 200, body: { id: '42', model_name: 'text' } })
  const { text_output: text } = whole.body as { text_output: string }
  expect(text.split(' ')).toHaveLength(12)
  expect(text).toMatch(/^of the light |^reads the answers /)
  const response = await fetch(`${url}/generate_stream`, { method: 'POST', body: JSON.stringify(request) })
  expect(response.headers.get('content-type')).toContain('text/event-stream')
  const frames = (await response.text())
    .split('\n\n')
    .filter((block) => block.startsWith('data: '))
    .map((block) => JSON.parse(block.slice('data: '.length)))
  expect(frames).toHaveLength(12)
  expect(frames[0]).toMatchObject({ id: '42', model_name: 'text' })
  expect(frames.map((frame) => frame.text_output).join('')).toBe(text)
  expect(await post(`${url}/generate`, { ...request, parameters: { max_words: -1 } })).toMatchObject({
    status: 400,
    body: { error: 'max_words must be a number from 0 to 1000' },
  })
  expect(await model.stop()).toBe(0)
})

describe('the ONNX example', () => {
  test('has the file that its script writes', async () => {
    const { exportIris } = await import('../examples/onnx/export.ts')
    expect(Buffer.from(await exportIris())).toEqual(await readFile(join(root, 'examples/onnx/iris.onnx')))
  })

  const missing = installOnnxRuntime()
  test.skipIf(missing)(
    `serves it over the Open Inference Protocol${missing ? ` [${missing}]` : ''}`,
    async () => {
      const model = await serve('examples/onnx')
      const url = `${model.origin}/v2/models/iris-onnx`
      expect(await (await fetch(url)).json()).toMatchObject({
        inputs: [{ name: 'measurements', datatype: 'FP32', shape: [-1, 4] }],
        outputs: [
          { name: 'label', datatype: 'INT64', shape: [-1] },
          { name: 'probabilities', datatype: 'FP32', shape: [-1, 3] },
        ],
      })
      const rows = [5.1, 3.5, 1.4, 0.2, 6.7, 3, 5, 1.7, 6.3, 3.3, 6, 2.5]
      const tensor = { name: 'measurements', datatype: 'FP32', shape: [3, 4], data: rows }
      const answer = await post(`${url}/infer`, { id: '42', inputs: [tensor], outputs: [{ name: 'label' }] })
      expect(answer).toEqual({
        status: 200,
        body: {
          model_name: 'iris-onnx',
          id: '42',
          outputs: [{ name: 'label', datatype: 'INT64', shape: [3], data: [0, 1, 2] }],
        },
      })
      expect(await post(`${url}/infer`, { inputs: [{ ...tensor, name: 'other' }] })).toMatchObject({
        status: 400,
        body: { error: 'expected input measurements of type FP32' },
      })
      expect(await model.stop()).toBe(0)
    },
  )
})

/** Installs what the example's own package.json lists. Returns why it could not, or undefined. */
function installOnnxRuntime(): string | undefined {
  const folder = join(root, 'examples/onnx')
  const binding = join(folder, 'node_modules/onnxruntime-node/package.json')
  if (existsSync(binding)) return
  const args = ['ci', '--prefix', folder, '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund']
  const { status, error, stderr } = spawnSync('npm', args, { encoding: 'utf8', timeout: 180_000 })
  if (status === 0 && existsSync(binding)) return
  return `needs onnxruntime-node, which npm did not install: ${error?.message ?? stderr.trim().split('\n').at(-1)}`
}

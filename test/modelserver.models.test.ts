/** What the base class promises to its subclasses, how errors read, and reference defects that stay away (section 9). */

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { train } from '../examples/iris/train.ts'
import { errorText } from '../modelserver/errors.ts'
import {
  createModelServer,
  type ModelServer,
  type ModelSettings,
  RuntimeError,
  type ServerOptions,
  V2ModelServer,
  ValueError,
} from '../modelserver/index.ts'
import { serverFromModule } from '../modelserver/user-module.ts'
import { Lists, modelOf, Times } from './support/sample-models.ts'

const P = '/v2/models'
const D = { inputs: [5] }
const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

async function started(settings: ModelSettings, options: ServerOptions = {}): Promise<ModelServer> {
  const server = createModelServer({ logger, ...options }).addModel('m', settings)
  onTestFinished(() => server.stop({ gracePeriodMs: 100 }))
  return server.start()
}

async function folder(files: Record<string, string>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'perdure-model-'))
  onTestFinished(() => rm(path, { recursive: true }))
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text)
  return path
}

describe('a model', () => {
  test('is named and versioned by the first colon', () => {
    const named = (name: string) => {
      const { name: own, version } = new Times({ name })
      return [own, version]
    }
    expect(named('m')).toEqual(['m', ''])
    expect(named('m:v1')).toEqual(['m', 'v1'])
    expect(named('m:v1:b')).toEqual(['m', 'v1:b'])
  })

  test('finds a parameter in its own, even null, then the server’s, then the default', async () => {
    class Params extends V2ModelServer {
      override load(): void {}
      op_params(): unknown {
        return ['own', 'none', 'shared', 'absent'].map((key) => this.getParam(key, 'default'))
      }
    }
    const settings = { class: Params, params: { own: 1, none: null } }
    const server = await started(settings, { parameters: { own: 2, shared: 3 } })
    expect((await server.test(`${P}/m/params`)).body).toEqual([1, null, 3, 'default'])
  })

  test('reads its file and spec from a directory, a spec file or a file with the suffix', async () => {
    const spec =
      'model_file: net.bin\ninputs:\n  - {name: a, value_type: float}\nparameters: {k: 7}\ntag: t\n'
    const path = await folder({ 'model_spec.yaml': spec, 'net.bin': '' })
    for (const modelPath of [path, join(path, 'model_spec.yaml')]) {
      const model = new Times({ name: 'm', modelPath, params: { k: 1 } })
      expect(await model.getModel('.bin')).toEqual({ modelFile: join(path, 'net.bin'), extraData: {} })
      expect(model.modelSpec).toMatchObject({
        inputs: [{ name: 'a', value_type: 'float' }],
        outputs: [],
        tag: 't',
      })
      expect(model.getParam('k')).toBe(7)
    }
    const bare = await folder({ 'b.bin': '', 'a.bin': '' })
    expect((await new Times({ name: 'm', modelPath: bare }).getModel('.bin')).modelFile).toBe(
      join(bare, 'a.bin'),
    )
    const file = join(bare, 'b.bin')
    expect((await new Times({ name: 'm', modelPath: file }).getModel('.bin')).modelFile).toBe(file)
    await expect(new Times({ name: 'm', modelPath: bare }).getModel('.onnx')).rejects.toThrow(ValueError)
  })

  test('answers typed arrays as lists, bigints digit for digit, and non-finite numbers as null', async () => {
    const outputs = async (value: unknown) => {
      const server = await started({ class: modelOf({ predict: () => value }) })
      return (await server.test(`${P}/m/infer`, { body: D })).text
    }
    expect(await outputs(new Float32Array([1.5, 2]))).toContain('"outputs":[1.5,2]')
    expect(await outputs([9007199254740993n])).toContain('"outputs":[9007199254740993]')
    expect(await outputs([Number.NaN, Number.POSITIVE_INFINITY, 1])).toContain('"outputs":[null,null,1]')
  })

  test('puts a timestamp into v2 answers when the server is told to', async () => {
    const server = await started({ class: Times }, { timestamps: true })
    const { body } = await server.test(`${P}/m/infer`, { body: D })
    expect((body as { timestamp: string }).timestamp).toMatch(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00$/,
    )
    expect((await server.test(`${P}/m/explain`, { body: D })).body).not.toHaveProperty('timestamp')
  })

  test('that loaded before another failed is cleaned up', async () => {
    let unloads = 0
    const server = createModelServer({ logger })
    server.addModel('good', { class: modelOf({ unload: () => void unloads++ }) })
    server.addModel('bad', { class: modelOf({ load: () => Promise.reject(new Error('no')) }) })
    await expect(server.start()).rejects.toThrow('failed to load model bad')
    expect(unloads).toBe(1)
  })

  test('above 4500 routes are refused', () => {
    const server = createModelServer()
    for (let i = 0; i < 4500; i++) server.addModel(`m${i}`, { class: Lists })
    expect(() => server.addModel('one-more', { class: Lists })).toThrow(
      'Cannot create the serving graph: the maximum number of steps is 4500',
    )
  })
})

describe('an error reads', () => {
  test('as its class and message with its causes', () => {
    class TooHot extends Error {}
    const root = new ValueError('root')
    expect(errorText(new RuntimeError('outer', { cause: new ValueError('inner', { cause: root }) }))).toBe(
      'RuntimeError: outer, caused by: inner, caused by: root',
    )
    expect(errorText(new TooHot('42 degrees'))).toBe('TooHot: 42 degrees')
    expect(errorText(new ValueError())).toBe('ValueError: ValueError()')
    expect(errorText('a string')).toBe('Error: a string')
    expect(errorText(Object.create(null))).toBe('Error: [object Object]')
  })

  test('cut in the middle above 32,000 characters', () => {
    const text = errorText(new ValueError(`${'a'.repeat(20_000)}${'b'.repeat(20_000)}`))
    expect(text).toBe(`ValueError: ${'a'.repeat(16_000)}...truncated...${'b'.repeat(16_000)}`)
    expect(errorText(new ValueError('c'.repeat(32_000)))).toBe(`ValueError: ${'c'.repeat(32_000)}`)
  })
})

describe('defects of the reference stay away', () => {
  test('falsy results of custom operations are written as JSON', async () => {
    class Falsy extends V2ModelServer {
      override load(): void {}
      op_zero = () => 0
      op_no = () => false
      op_object = () => ({})
      op_list = () => []
      op_nothing = () => null
    }
    const server = await started({ class: Falsy })
    const text = async (op: string) => (await server.test(`${P}/m/${op}`)).text
    expect(await Promise.all(['zero', 'no', 'object', 'list', 'nothing'].map(text))).toEqual([
      '0',
      'false',
      '{}',
      '[]',
      '',
    ])
  })

  test('an operation name that is no word, or no function, is none of the model’s', async () => {
    class Odd extends V2ModelServer {
      override load(): void {}
      op_text = 'no function'
    }
    const server = await started({ class: Odd })
    for (const op of ['text', 'constructor', '__proto__', 'a%2Fb']) {
      expect((await server.test(`${P}/m/${op}`, { silent: true })).text).toMatch(
        /^ValueError: illegal model operation/,
      )
    }
  })

  test('a record’s failing target, and hooks that fail, leave the server up', async () => {
    class Wild extends V2ModelServer {
      override load(): void {}
      override predict(): never {
        throw { toString: () => 'not an error' }
      }
      override postprocess(): never {
        throw null
      }
    }
    const server = await started({ class: Wild })
    expect((await server.test(`${P}/m/infer`, { body: D, silent: true })).text).toBe('Error: not an error')
    expect((await server.test(`${P}/m/ready`)).status).toBe(200)
  })
})

test('the ten lines of docs/model-server.md are served as written', async () => {
  const page = await readFile(new URL('../docs/model-server.md', import.meta.url), 'utf8')
  const [, code = ''] = /```ts\n(\/\/ doubles\.ts\n[\s\S]*?)```/.exec(page) ?? []
  const door = new URL('../modelserver/index.ts', import.meta.url).href
  const path = await folder({ 'doubles.ts': code.replace('perdure/modelserver', door) })
  const server = await serverFromModule(join(path, 'doubles.ts'))
  onTestFinished(() => server.stop())
  await server.start()
  const { body } = await server.test(`${P}/doubles/infer`, { body: { inputs: [1, 2] } })
  expect(body).toMatchObject({ model_name: 'doubles', outputs: [2, 4] })
})

test('the sample classifier is what its training gives, and names nine of ten flowers it never saw', async () => {
  const { model, accuracy } = await train()
  expect(accuracy).toBeGreaterThan(0.9)
  const stored = JSON.parse(await readFile(new URL('../examples/iris/model.json', import.meta.url), 'utf8'))
  expect(model.labels).toEqual(stored.labels)
  for (const [c, row] of model.weights.entries()) {
    for (const [f, weight] of row.entries()) expect(weight).toBeCloseTo(stored.weights[c][f], 6)
  }
})

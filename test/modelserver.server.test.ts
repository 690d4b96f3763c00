/** Conformance cases 62, 63, 67 and 68 of the model-server specification, and what a listening server promises. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { deflateSync, gzipSync } from 'node:zlib'
import { Validator } from '@seriousme/openapi-schema-validator'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import {
  createModelServer,
  type InferRequest,
  listen,
  type ModelServer,
  type ServerOptions,
  V2ModelServer,
  VotingEnsemble,
} from '../modelserver/index.ts'
import { serverFromModule } from '../modelserver/user-module.ts'
import { Cold, Dbl, Lists, modelOf, RowSums, Times } from './support/sample-models.ts'

const P = '/v2/models'
const T = { inputs: [{ name: 'input0', shape: [2, 2], datatype: 'FP32', data: [1, 2, 3, 4] }] }
const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

class Plain extends V2ModelServer<InferRequest> {
  override load(): void {}
}

async function started(options: ServerOptions, add: (server: ModelServer) => void): Promise<ModelServer> {
  const server = createModelServer({ logger, ...options })
  add(server)
  onTestFinished(() => server.stop({ gracePeriodMs: 100 }))
  await server.start()
  await Promise.all(server.routes.all().map(({ key, host }) => (key === 'cold' ? undefined : host?.loading)))
  return server
}

async function listening(server: ModelServer): Promise<string> {
  const { url, close } = await listen(server)
  onTestFinished(close)
  return url
}

function ask(server: ModelServer, path: string, body?: unknown, headers: Record<string, string> = {}) {
  return server.test(path, {
    eventId: 'evt-1',
    silent: true,
    headers,
    ...(body === undefined ? {} : { body }),
  })
}

/** Generous: the machine may be busy. */
function eventually(check: () => unknown): Promise<unknown> {
  return vi.waitFor(check, { timeout: 20_000, interval: 10 })
}

async function* yields(...values: unknown[]): AsyncGenerator<string> {
  for (const value of values) {
    if (value instanceof Error) throw value
    yield value as string
  }
}

describe('the repository', () => {
  test('case 62: load, unload, list and index', async () => {
    const server = await started({ protocol: 'oip', loadMode: 'async' }, (made) => {
      made.addModel('dbl', { class: Dbl }).addModel('plain', { class: Plain })
      made.addModel('cold', { class: Cold }).addModel('p1', { class: RowSums, protocol: 'v1' })
    })
    const post = (path: string) =>
      server.test(`/v2/repository${path}`, { method: 'POST', body: {}, silent: true })
    expect((await post('/models/dbl/load')).body).toEqual({ name: 'dbl', load: true })
    const nope = await post('/models/nope/load')
    expect([nope.status, nope.body]).toEqual([404, { error: 'Model with name nope does not exist.' }])
    expect((await post('/models/plain/unload')).body).toEqual({ name: 'plain', unload: true })
    expect((await ask(server, P)).body).toEqual({ models: ['dbl', 'cold', 'p1'] })
    expect((await post('/index')).body).toEqual([
      { name: 'dbl', state: 'READY', reason: '' },
      { name: 'plain', state: 'UNAVAILABLE', reason: 'unloaded' },
      { name: 'cold', state: 'LOADING', reason: '' },
      { name: 'p1', state: 'READY', reason: '' },
    ])
    expect((await ask(server, `${P}/plain/infer`, T)).status).toBe(404)
    await post('/models/plain/load')
    expect((await ask(server, P)).body).toEqual({ models: ['dbl', 'plain', 'cold', 'p1'] })
  })

  test('a reload that fails keeps the old instance, and one that succeeds replaces it', async () => {
    let loads = 0
    let unloads = 0
    const load = () => {
      loads++
      if (loads === 2) throw new Error('disk gone')
    }
    const own = modelOf({ load, predict: () => loads, unload: () => void unloads++ })
    const server = await started({}, (made) => made.addModel('m', { class: own }))
    const reload = () => server.test('/v2/repository/models/m/load', { method: 'POST', silent: true })
    const failed = await reload()
    expect([failed.status, failed.body]).toEqual([500, { error: 'failed to load model m: disk gone' }])
    expect((await ask(server, `${P}/m/infer`, { inputs: [] })).status).toBe(200)
    expect((await reload()).status).toBe(200)
    await eventually(() => expect(unloads).toBeGreaterThan(0))
    expect((await ask(server, `${P}/m/infer`, { inputs: [] })).body).toMatchObject({ outputs: 3 })
  })

  test('an unload waits for the requests that run and refuses new ones', async () => {
    let finish = () => {}
    const predict = () => new Promise((resolve) => (finish = () => resolve('done')))
    const server = await started({}, (made) => made.addModel('m', { class: modelOf({ predict }) }))
    const running = ask(server, `${P}/m/infer`, { inputs: [] })
    await eventually(() => expect(server.routes.find('m')?.host?.queue.inFlight).toBe(1))
    const unloading = server.unloadModel('m')
    await eventually(() => expect(server.routes.find('m')?.host?.state).toBe('UNLOADING'))
    expect((await ask(server, `${P}/m/infer`, { inputs: [] })).status).toBe(503)
    finish()
    expect((await running).body).toMatchObject({ outputs: 'done' })
    await unloading
    expect((await ask(server, `${P}/m/infer`, { inputs: [] })).text).toMatch(
      /^ValueError: model m doesnt exist/,
    )
  })

  test('repositoryApi: false removes its paths', async () => {
    const server = await started({ repositoryApi: false }, (made) => made.addModel('m', { class: Lists }))
    const answer = await ask(server, '/v2/repository/index', {})
    expect([answer.status, answer.text]).toEqual([
      400,
      'ValueError: illegal path prefix /v2/repository/index, must start with /v2/models',
    ])
  })
})

test('case 63: metrics count requests and time predict', async () => {
  const server = await started({ protocol: 'oip' }, (made) => made.addModel('dbl', { class: Dbl }))
  for (let i = 0; i < 3; i++) await ask(server, `${P}/dbl/infer`, T)
  const { text, contentType } = await ask(server, '/metrics')
  expect(contentType).toMatch(/^text\/plain; version=0\.0\.4/)
  expect(text).toContain('request_predict_seconds_count{model_name="dbl"} 3')
  const counts = [...text.matchAll(/^model_requests_total\{[^}]*model="dbl"[^}]*\} (\d+)$/gm)].map(([, n]) =>
    Number(n),
  )
  expect(counts.reduce((sum, n) => sum + n, 0)).toBe(3)
})

describe('case 67: generate', () => {
  const generating = (...values: unknown[]) =>
    started({}, (made) => made.addModel('m', { class: modelOf({ generate: () => yields(...values) }) }))
  const body = { id: '42', text_input: 'x' }

  test('streams a frame per chunk and ends with the close', async () => {
    const answer = await ask(await generating('a', 'b'), `${P}/m/generate_stream`, body)
    expect(answer.contentType).toBe('text/event-stream')
    const frame = (text: string) =>
      `data: ${JSON.stringify({ id: '42', model_name: 'm', text_output: text })}\n\n`
    expect(answer.text).toBe(frame('a') + frame('b'))
  })

  test('joins the chunks, merges objects into frames', async () => {
    const server = await generating('a', { text_output: 'b', token: 7 })
    expect((await ask(server, `${P}/m/generate`, body)).body).toEqual({
      id: '42',
      model_name: 'm',
      text_output: 'ab',
    })
    expect((await ask(server, `${P}/m/generate_stream`, body)).text).toContain('"text_output":"b","token":7')
  })

  test('an error after the first chunk is a last frame, one before it a status', async () => {
    const later = await ask(await generating('a', new Error('broke')), `${P}/m/generate_stream`, body)
    expect(later.status).toBe(200)
    expect(later.text).toMatch(/"text_output":"a"\}\n\ndata: \{"error":"Error: broke"\}\n\n$/)
    const first = await ask(await generating(new Error('broke')), `${P}/m/generate_stream`, body)
    expect([first.status, first.body]).toEqual([500, { error: 'Error: broke' }])
    const bad = await ask(await generating('a'), `${P}/m/generate`, { id: '1' })
    expect([bad.status, bad.body]).toEqual([400, { error: 'Expected "text_input" to be a string' }])
  })

  test('silence is filled with comments, and a client that leaves ends the generation', async () => {
    let ended = ''
    const generate = async function* (_: unknown, { signal }: { signal: AbortSignal }) {
      try {
        yield 'a'
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))))
      } finally {
        ended = signal.aborted ? 'aborted' : 'returned'
      }
    }
    const server = await started({ pingMs: 20 }, (made) =>
      made.addModel('m', { class: modelOf({ generate }) }),
    )
    const url = await listening(server)
    const leave = new AbortController()
    const response = await fetch(`${url}${P}/m/generate_stream`, {
      method: 'POST',
      body: JSON.stringify(body),
      signal: leave.signal,
    })
    const seen: string[] = []
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      seen.push(chunk)
      if (seen.join('').includes(': ping')) break
    }
    leave.abort()
    await eventually(() => expect(ended).toBe('aborted'))
    await eventually(() => expect(server.routes.find('m')?.host?.queue.inFlight).toBe(0))
  })
})

describe('a process', () => {
  const root = fileURLToPath(new URL('..', import.meta.url))

  function launch(
    args: string[],
    env: Record<string, string> = {},
  ): { child: ChildProcess; out: string[]; err: string[] } {
    const child = spawn(process.execPath, ['modelserver/main.ts', ...args], {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const out: string[] = []
    const err: string[] = []
    child.stdout?.on('data', (chunk: Buffer) => out.push(chunk.toString()))
    child.stderr?.on('data', (chunk: Buffer) => err.push(chunk.toString()))
    onTestFinished(async () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL')
        await once(child, 'exit')
      }
    })
    return { child, out, err }
  }

  async function address(out: string[]): Promise<string> {
    await eventually(() => expect(out.join('')).toContain('\n'))
    const first: unknown = JSON.parse(out.join('').split('\n', 1)[0]!)
    expect(first).toEqual({ msg: 'listening', host: '127.0.0.1', port: expect.any(Number) })
    return `http://127.0.0.1:${(first as { port: number }).port}`
  }

  const infer = (url: string, ms: number) =>
    fetch(`${url}${P}/m/infer`, { method: 'POST', body: JSON.stringify({ inputs: [ms] }) })

  test('case 68: SIGTERM lets a predict of seconds finish, refuses new ones, and exits 0', async () => {
    const { child, out } = launch(['test/support/second-long-model.ts'], { MODEL_NAME: 'm', PORT: '0' })
    const url = await address(out)
    expect((await infer(url, 0)).status).toBe(200)
    const running = infer(url, 3000)
    const inFlight = /model_in_flight\{[^}]*\} 1/
    await eventually(async () => expect(await (await fetch(`${url}/metrics`)).text()).toMatch(inFlight))
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    const refused = async () =>
      (await infer(url, 0).then(
        ({ status }) => status,
        () => 503,
      )) === 503
    await eventually(async () => expect(await refused()).toBe(true))
    const answer = await running
    expect(await answer.json()).toMatchObject({ model_name: 'm', outputs: [3000] })
    expect(await exited).toEqual([0, null])
  })

  test('a second signal ends it at once with 1', async () => {
    const { child, out } = launch(['test/support/second-long-model.ts', '--name', 'm'])
    const url = await address(out)
    infer(url, 60_000).catch(() => {})
    await eventually(async () =>
      expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/model_in_flight\{[^}]*\} 1/),
    )
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    await eventually(async () => expect((await fetch(`${url}/v2/health/ready`)).status).toBe(503))
    child.kill('SIGTERM')
    expect(await exited).toEqual([1, null])
  })

  test('a load that fails is on stderr, exit code 1, and no port was opened', async () => {
    const { child, out, err } = launch(['test/support/second-long-model.ts'], { MODEL_BASE_PATH: 'nowhere' })
    expect(await once(child, 'exit')).toEqual([1, null])
    expect(err.join('')).toContain('failed to load model sleepy, caused by: no model at nowhere')
    expect(out.join('')).toBe('')
  })

  test('a module that exports nothing to serve is refused by name', async () => {
    await expect(serverFromModule('test/support/require.ts')).rejects.toThrow('exports neither')
    const iris = await serverFromModule('examples/iris/model.ts')
    expect(iris.routes.keys()).toEqual(['iris'])
  })
})

describe('a listening server', () => {
  test('answers the sample classifier, HEAD without a body, and 413 above its limit', async () => {
    const server = await serverFromModule('examples/iris/model.ts', { server: { maxBodyBytes: 1000 } })
    onTestFinished(() => server.stop())
    await server.start()
    const url = await listening(server)
    const rows = [
      [5.1, 3.5, 1.4, 0.2],
      [6.3, 3.3, 6, 2.5],
    ]
    const answer = await fetch(`${url}${P}/iris/infer`, {
      method: 'POST',
      body: JSON.stringify({ inputs: rows }),
    })
    expect(answer.status).toBe(200)
    const { outputs } = (await answer.json()) as { outputs: Array<{ label: string; probabilities: object }> }
    expect(outputs.map(({ label }) => label)).toEqual(['setosa', 'virginica'])
    expect(Object.keys(outputs[0]!.probabilities)).toEqual(['setosa', 'versicolor', 'virginica'])
    const head = await fetch(`${url}${P}/iris`, { method: 'HEAD' })
    expect([head.status, await head.text()]).toEqual([200, ''])
    const large = await fetch(`${url}${P}/iris/infer`, { method: 'POST', body: 'x'.repeat(2000) })
    expect(large.status).toBe(413)
    expect((await fetch(`${url}${P}/iris`)).status).toBe(200)
  })

  test('compressed bodies are unpacked within the limit', async () => {
    const server = await started({ maxBodyBytes: 10_000 }, (made) => made.addModel('m', { class: Times }))
    const url = await listening(server)
    const send = (encoding: string, body: Uint8Array<ArrayBuffer>) =>
      fetch(`${url}${P}/m/infer`, { method: 'POST', body, headers: { 'content-encoding': encoding } })
    const json = JSON.stringify({ inputs: [5] })
    for (const [encoding, packed] of [
      ['gzip', gzipSync(json)],
      ['deflate', deflateSync(json)],
    ] as const) {
      expect(await (await send(encoding, new Uint8Array(packed))).json()).toMatchObject({ outputs: 5 })
    }
    const bomb = new Uint8Array(gzipSync(' '.repeat(100_000)))
    expect((await send('gzip', bomb)).status).toBe(413)
    expect((await send('gzip', new TextEncoder().encode(json))).status).toBe(400)
    expect((await send('lzma', new TextEncoder().encode(json))).status).toBe(415)
  })

  test('the application takes routes and middleware of its owner, which come first', async () => {
    const server = await started({}, (made) => made.addModel('m', { class: Times }))
    server.app.use(async (c, next) => {
      if (c.req.header('x-key') !== 'open') return c.text('who are you', 401)
      await next()
    })
    server.app.get('/hello', (c) => c.text('hello'))
    const url = await listening(server)
    const infer = { method: 'POST', body: '{"inputs":[5]}' }
    expect((await fetch(`${url}${P}/m/infer`, infer)).status).toBe(401)
    const headers = { 'x-key': 'open' }
    expect(await (await fetch(`${url}${P}/m/infer`, { ...infer, headers })).json()).toMatchObject({
      outputs: 5,
    })
    expect(await (await fetch(`${url}/hello`, { headers })).text()).toBe('hello')
    const direct = await server.fetch(new Request(`http://x${P}/m/infer`, { ...infer, headers }))
    expect(await direct.json()).toMatchObject({ outputs: 5 })
  })

  test('a stop aborts what runs longer than the grace period', async () => {
    let reason: unknown
    const predict = (_: unknown, { signal }: { signal: AbortSignal }) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          reason = signal.reason
          reject(signal.reason)
        })
      })
    const server = await started({}, (made) => made.addModel('m', { class: modelOf({ predict }) }))
    const running = ask(server, `${P}/m/infer`, { inputs: [] })
    await eventually(() => expect(server.routes.find('m')?.host?.queue.inFlight).toBe(1))
    await server.stop({ gracePeriodMs: 20 })
    expect((await running).status).toBe(503)
    expect(reason).toMatchObject({ status: 503 })
  })
})

describe('OpenAPI', () => {
  const openapi = async (server: ModelServer) => {
    const { body } = await ask(server, '/openapi.json')
    const result = await new Validator().validate(body as Record<string, unknown>)
    expect(result.errors ?? []).toEqual([])
    expect(result.valid).toBe(true)
    return body as {
      openapi: string
      tags: Array<{ name: string }>
      paths: Record<string, Record<string, { tags: string[] }>>
    }
  }

  test('the document is valid 3.1 and lists the paths of every kind of server', async () => {
    const mixed = await started({ dictOps: true }, (made) => {
      made.addModel('times', { class: Times }).addModel('dbl:2', { class: Dbl, protocol: 'oip' })
      made.addModel('g', { class: modelOf({ generate: () => yields('a') }) })
      made.addRoute('fn', () => 1)
    })
    const { openapi: version, paths, tags } = await openapi(mixed)
    expect(version).toBe('3.1.0')
    const used = Object.values(paths).flatMap((path) =>
      Object.values(path).flatMap((operation) => operation.tags),
    )
    expect(new Set(used)).toEqual(new Set(tags.map(({ name }) => name)))
    expect(Object.keys(paths)).toEqual(
      expect.arrayContaining([
        '/v2',
        '/v2/health/ready',
        '/v2/models',
        '/v2/models/{model}',
        '/v2/models/{model}/infer',
        '/v2/models/{model}/infer_dict',
        '/v2/models/{model}/generate_stream',
        '/v2/models/{model}/versions/{version}/infer',
        '/v2/models/times/myop',
        '/v2/models/fn',
        '/v2/repository/index',
        '/v1/models/{model}:predict',
        '/metrics',
      ]),
    )
    const single = await openapi(await started({ model: { name: 'm', class: Times } }, () => {}))
    expect(Object.keys(single.paths)).toEqual(expect.arrayContaining(['/', '/ready', '/infer', '/myop']))
    const router = new VotingEnsemble()
    const ensemble = await openapi(await started({ router }, (made) => made.addModel('m', { class: Lists })))
    expect(Object.keys(ensemble.paths)).toContain('/v2/models/explain')
  })

  test('/docs shows it with a script of its own', async () => {
    const server = await started({}, (made) => made.addModel('m', { class: Lists }))
    const page = await ask(server, '/docs')
    expect(page.contentType).toMatch(/^text\/html/)
    expect(page.text).toContain('/docs/reference.js')
    expect(page.text).not.toMatch(/https?:\/\//)
    const script = await ask(server, '/docs/reference.js')
    expect([script.status, script.contentType]).toEqual([200, 'text/javascript; charset=utf-8'])
  })
})
